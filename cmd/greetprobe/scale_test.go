package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"greetd.example/internal/test/testserver"
)

// Ten thousand targets take less than 100 MB.
func TestMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("builds greetprobe and greets it 10,000 times")
	}
	const count, most = 10_000, 100 << 20
	greetprobe := filepath.Join(t.TempDir(), "greetprobe") // this test's own binary may have the race detector
	if out, err := exec.Command("go", "build", "-o", greetprobe, "greetd.example/cmd/greetprobe").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	server := testserver.ListenOn(t, "tcp4", ":0", testserver.Greet("220 mail.example ESMTP\r\n"))
	_, port, _ := strings.Cut(server.Addr, ":")
	var targets strings.Builder
	for i := range count {
		fmt.Fprintf(&targets, "127.0.%d.%d:%s\n", i>>8, i&0xff|1, port)
	}
	for _, args := range [][]string{
		{"-P", "1000", "-o", "json"},
		{"-P", "1000", "-o", "prom"},
	} {
		cmd := exec.Command(greetprobe, append(args, "-f", "-")...)
		cmd.Stdin = strings.NewReader(targets.String())
		out, err := cmd.StdoutPipe()
		if err := errors.Join(err, cmd.Start()); err != nil {
			t.Fatal(err)
		}
		peak := 0
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			if n%100 == 0 {
				peak = max(peak, peakMemory(cmd.Process.Pid))
			}
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v: %v", args, err)
		}
		t.Logf("%v: %d MB", args, peak>>20)
		if peak == 0 || peak >= most {
			t.Errorf("%v: %d MB for %d targets, want less than %d", args, peak>>20, count, most>>20)
		}
	}
}

// peakMemory is the most that a process had in memory so far, in bytes; 0 if it has
// ended. Its rusage would tell that of the process that started it, too (wait4(2)).
func peakMemory(pid int) int {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	_, after, _ := strings.Cut(string(status), "VmHWM:")
	kib := 0
	_, _ = fmt.Sscan(after, &kib)
	return kib << 10
}
