package systemd

import (
	"os"
	"strconv"
	"testing"
)

func TestStarted(t *testing.T) {
	for pid, want := range map[string]bool{"": false, "1": false, strconv.Itoa(os.Getpid()): true} {
		t.Setenv("SYSTEMD_EXEC_PID", pid)
		if got := Started(); got != want {
			t.Errorf("SYSTEMD_EXEC_PID=%q: %v", pid, got)
		}
	}
}

func TestRuntimeDirectory(t *testing.T) {
	for list, want := range map[string]string{"": "", "/run/greetd": "/run/greetd", "/run/a:/run/b": "/run/a"} {
		t.Setenv("RUNTIME_DIRECTORY", list)
		if got := RuntimeDirectory(); got != want {
			t.Errorf("RUNTIME_DIRECTORY=%q: %q", list, got)
		}
	}
}

func TestStoreSize(t *testing.T) {
	for value, want := range map[string]struct {
		size  int
		known bool
	}{"": {}, "32": {32, true}, "many": {}} {
		t.Setenv("FDSTORE", value)
		if size, known := StoreSize(); size != want.size || known != want.known {
			t.Errorf("FDSTORE=%q: %d, %v", value, size, known)
		}
	}
}
