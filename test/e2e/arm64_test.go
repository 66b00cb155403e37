package e2e

import (
	"bytes"
	"context"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"greetd.example/internal/test/debian"
)

// The programs for arm64 that are published run, greet and probe: under qemu, where this machine
// is another one.
func TestARM64(t *testing.T) {
	p := published(t)
	dir := t.TempDir()
	if out, err := command("tar", "-xzf", onlyFile(t, p.now+"/greetd_*_linux_arm64.tar.gz"), "-C", dir, "--strip-components=1"); err != nil {
		t.Fatal(err, out)
	}
	run := func(program string, args ...string) *exec.Cmd {
		args = append([]string{filepath.Join(dir, "bin", program)}, args...)
		if runtime.GOARCH != "arm64" {
			args = append([]string{debian.Program(t, "qemu-aarch64-static", "qemu-user-static")}, args...)
		}
		ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
		t.Cleanup(cancel)
		return exec.CommandContext(ctx, args[0], args[1:]...)
	}
	for _, program := range []string{"greetd", "greetprobe"} {
		if out, err := run(program, "version").CombinedOutput(); err != nil || !strings.Contains(string(out), newTag) {
			t.Errorf("%s version: %v\n%s", program, err, out)
		}
	}
	probe := run("greetprobe", "--version")
	closed := exec.CommandContext(t.Context(), "sh", append([]string{"-c", `exec "$@" >&-`, "sh"}, probe.Args...)...)
	if out, _ := closed.CombinedOutput(); closed.ProcessState.ExitCode() != 5 {
		t.Errorf("greetprobe with its standard output closed: exit %d: %s", closed.ProcessState.ExitCode(), out)
	}

	socket := filepath.Join(dir, "greet.sock")
	writeFile(t, filepath.Join(dir, "greetd.yaml"), "listeners: [{name: greet, address: \"unix:"+socket+"\"}]\n"+
		"greeting: \"from arm64\\n\"\nlog: {output: stdout}\nadmin: {address: \"unix:"+dir+"/admin.sock\"}\n")
	var log bytes.Buffer
	daemon := run("greetd", "--config", filepath.Join(dir, "greetd.yaml"))
	daemon.Env = []string{} // variables that begin with GREETD_ are configuration
	daemon.Stdout, daemon.Stderr = &log, &log
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	out, err := run("greetprobe", "--wait", "30s", "unix:"+socket).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "from arm64") {
		t.Errorf("greetprobe: %v\n%s", err, out)
	}
	if err := daemon.Process.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if err := daemon.Wait(); err != nil || !strings.Contains(log.String(), "greetd has stopped: 1 greeted") {
		t.Errorf("greetd: %v\n%s", err, log.String())
	}
}
