package hangup

import (
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"
)

// SIGHUP does not end this process, and can be had all the same.
func TestSIGHUP(t *testing.T) {
	if errno := ignore(); errno != 0 {
		t.Fatal(errno)
	}
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if err := self.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	signal.Ignore(syscall.SIGHUP)
	received := make(chan os.Signal, 1)
	signal.Notify(received, syscall.SIGHUP)
	defer signal.Stop(received)
	if err := self.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	select {
	case <-received:
	case <-time.After(10 * time.Second):
		t.Error("SIGHUP does not reach signal.Notify")
	}
}
