package drill

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A command that does not end is interrupted, with what it has started.
func TestCommandIsInterruptedWithItsProcesses(t *testing.T) {
	if terminal, err := os.Open("/dev/tty"); err == nil {
		_ = terminal.Close() // it would interrupt the processes: this is for a session without one
		again := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$")
		again.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if out, err := again.CombinedOutput(); err != nil {
			t.Fatalf("without a terminal: %v\n%s", err, out)
		}
		return
	}
	started := filepath.Join(t.TempDir(), "pid")
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	go func() {
		for range time.Tick(time.Millisecond) {
			if pid, _ := os.ReadFile(started); strings.HasSuffix(string(pid), "\n") {
				cancel(enough)
				return
			}
		}
	}()
	err := Command(ctx, "sleep 1000 & echo $! >"+started+"; echo waiting; wait; sleep 1000")
	if !errors.Is(err, enough) || !strings.HasSuffix(err.Error(), "enough: waiting") {
		t.Errorf("the error is %v", err)
	}
	text, _ := os.ReadFile(started)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	stat := func() string {
		stat, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		return string(stat)
	}
	for deadline := time.Now().Add(10 * time.Second); syscall.Kill(pid, 0) == nil && !strings.Contains(stat(), ") Z "); {
		if time.Now().After(deadline) {
			t.Fatal("what the command started runs on")
		}
	}
}

func TestTailKeepsTheEnd(t *testing.T) {
	var last tail
	for _, text := range []string{"a", strings.Repeat("b", 400), "c\n"} {
		if n, err := last.Write([]byte(text)); n != len(text) || err != nil {
			t.Fatal(n, err)
		}
	}
	if got, want := last.String(), "..."+strings.Repeat("b", tailSize-2)+"c"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	var short tail
	_, _ = short.Write([]byte(" oh dear\n"))
	if got := short.String(); got != "oh dear" {
		t.Errorf("%q", got)
	}
}

func TestInflightLeavesDescriptorsForSteps(t *testing.T) {
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Setrlimit(unix.RLIMIT_NOFILE, &before) }()
	for limit, want := range map[uint64]int{64: 16, 33: 1, 10: 1, 1024: 100} {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: limit, Max: before.Max}); err != nil {
			t.Fatal(err)
		}
		if got := Inflight(100); got != want {
			t.Errorf("with %d descriptors, %d clients at once, want %d", limit, got, want)
		}
	}
}
