// Package e2e holds the promises that only a booted systemd can show: greetd installed
// by make install, driven by systemctl, watched by journalctl and greeted by real
// clients, on systemd 252, 257 and 262. make e2e runs it.
package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	wantedEnv = "GREETD_E2E"         // set: somebody wants these tests, which take minutes
	insideEnv = "GREETD_E2E_SCRATCH" // set by outside for inside: the scratch directory
	loadEnv   = "GREETD_E2E_LOAD"    // set: be a load client, with this specification in JSON
)

// A test binary has three lives: a load client; the one that runs the tests, as process 1
// of namespaces of its own; and the one outside that waits for it. When the tests end,
// in whatever way, the kernel kills their containers and takes their mounts away.
func TestMain(m *testing.M) {
	switch {
	case os.Getenv(loadEnv) != "":
		os.Exit(loadMain())
	case os.Getenv(insideEnv) != "":
		if err := prepareInside(); err != nil {
			fmt.Fprintln(os.Stderr, "e2e:", err)
			os.Exit(1)
		}
		os.Exit(m.Run())
	case whyNot() == "":
		os.Exit(outside())
	default:
		os.Exit(m.Run())
	}
}

// whyNot says why no container can be booted here; "" if it can.
func whyNot() string {
	if os.Getenv(wantedEnv) == "" {
		return "it takes minutes: run make e2e"
	}
	if os.Getuid() != 0 {
		return "it needs root"
	}
	for _, program := range []string{"systemd-nspawn", "debootstrap", "nsenter", "make"} {
		if _, err := exec.LookPath(program); err != nil {
			return "it needs " + program
		}
	}
	return ""
}

// outside runs this binary again in new process and mount namespaces, and returns its
// exit code.
func outside() int {
	runtime.LockOSThread() // Pdeathsig below counts from the death of the thread

	scratch, err := os.MkdirTemp("", "greetd-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	defer os.RemoveAll(scratch)

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	go stopWithParent(stop)
	inside := exec.CommandContext(ctx, "/proc/self/exe", os.Args[1:]...)
	inside.Args[0] = os.Args[0]
	inside.Env = append(os.Environ(), insideEnv+"="+scratch)
	inside.Stdout, inside.Stderr = os.Stdout, os.Stderr
	inside.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS,
		Pdeathsig:  syscall.SIGKILL,
	}
	err = inside.Run()
	removeGroup(groups(scratch))
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case ctx.Err() != nil:
		return 130
	case errors.As(err, &exit):
		return exit.ExitCode()
	default:
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
}

// stopWithParent calls stop when the process that started this one is gone: go test that
// is killed leaves its test binary behind.
func stopWithParent(stop func()) {
	for parent := os.Getppid(); os.Getppid() == parent; {
		time.Sleep(time.Second)
	}
	stop()
}

// prepareInside gives the new namespaces their /proc, and a scratch directory in memory
// that nobody else sees.
func prepareInside() error {
	mounts := []struct{ source, target, kind, data string }{
		{"", "/", "", ""},
		{"proc", "/proc", "proc", ""},
		{"greetd-e2e", os.Getenv(insideEnv), "tmpfs", "mode=0755"},
	}
	for _, mount := range mounts {
		var flags uintptr
		if mount.kind == "" {
			flags = unix.MS_REC | unix.MS_PRIVATE
		}
		if err := unix.Mount(mount.source, mount.target, mount.kind, flags, mount.data); err != nil {
			return fmt.Errorf("mount %s: %w", mount.target, err)
		}
	}
	return nil
}
