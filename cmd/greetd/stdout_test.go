//go:build amd64 || arm64

package main

import (
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Output that nobody can get is an error, as it is in other programs; output to /dev/null is none, in whatever way
// it was opened.
func TestClosedStandardOutput(t *testing.T) {
	greetd, err := shipped()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", filepath.Dir(greetd)+":"+"/usr/bin:/bin")
	for _, c := range []struct {
		command string
		code    int // if standard output is closed
	}{
		{"greetprobe --version", 5},
		{"greetprobe check --version", 3},
		{"greetd version", 1},
		{"greetd config --schema", 1},
	} {
		out, code := shell(t, c.command+" >&-")
		if code != c.code || !strings.HasSuffix(out, ": write /dev/stdout: bad file descriptor\n") {
			t.Errorf("%s >&-: exit %d, want %d: %s", c.command, code, c.code, out)
		}
		closed, _ := shell(t, c.command+" >/dev/full")
		if strings.ReplaceAll(closed, "no space left on device", "bad file descriptor") != out {
			t.Errorf("%s says %q if it is closed, and %q if it is full", c.command, out, closed)
		}
		for _, null := range []string{">/dev/null", "1<>/dev/null"} {
			if out, code := shell(t, c.command+" "+null); out != "" || code != 0 && !strings.HasPrefix(c.command, "greetprobe check") {
				t.Errorf("%s %s: exit %d: %s", c.command, null, code, out)
			}
		}
	}
}

// shell returns what a shell command prints to standard error, and its exit code.
func shell(t *testing.T, command string) (out string, code int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-c", command)
	said := &strings.Builder{}
	cmd.Stderr = said
	err := cmd.Run()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		t.Fatal(err)
	}
	return said.String(), cmd.ProcessState.ExitCode()
}
