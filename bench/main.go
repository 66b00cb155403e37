// Bench compares greetd with the alternatives: the stream module of nginx, a minimal Go program with
// a goroutine for each client, and a minimal program in C. make bench runs it; RESULTS.md has the
// results.
//
// It runs in a separate network namespace without connection tracking. In each round the same client
// loads every server in turn, for the same time. The results are the ratios within a round.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		os.Exit(serve(os.Args[2:]))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// inside marks the process that is in the namespaces.
const inside = "BENCH_INSIDE"

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	rounds := flags.Int("rounds", 7, "how often each server is loaded")
	seconds := flags.Duration("time", 2*time.Second, "for how long each time")
	only := flags.String("only", "", "these comparisons alone, by the names of their tables, with commas between")
	clients := flags.Int("clients", 15000, "how many clients stay connected, where many do")
	if err := flags.Parse(args); err != nil {
		return 64
	}
	var err error
	if os.Getenv(inside) == "" {
		err = again(ctx, args, stdout, stderr)
	} else {
		err = compare(ctx, stdout, plan{*rounds, *seconds, *clients, strings.FieldsFunc(*only, func(r rune) bool { return r == ',' })})
	}
	if err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return 1
	}
	return 0
}

// again runs this program in namespaces of its own: when it ends, in whatever way, the
// kernel ends what it has started, and takes the network away.
func again(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if os.Getuid() != 0 {
		return errors.New("only root can make a network namespace")
	}
	runtime.LockOSThread() // Pdeathsig counts from the death of the thread
	cmd := exec.CommandContext(ctx, "/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWPID | unix.CLONE_NEWNS,
		Pdeathsig:  syscall.SIGKILL,
	}
	return cmd.Run()
}

// A plan says how thorough to be.
type plan struct {
	rounds      int
	time        time.Duration
	manyClients int
	only        []string // names of comparisons; empty: all
}

// compare prepares the namespaces and makes the comparisons.
func compare(ctx context.Context, out io.Writer, p plan) error {
	scratch, err := os.MkdirTemp("", "greetd-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	if err := setUpNamespaces(); err != nil {
		return err
	}
	b := &bench{plan: p, scratch: scratch, out: out}
	if err := b.prepare(ctx); err != nil {
		return err
	}
	b.introduce(ctx)
	for _, c := range b.comparisons() {
		if len(p.only) > 0 && !slices.Contains(p.only, c.name) {
			continue
		}
		if err := c.make(ctx); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	b.reportGoals()
	return nil
}

// setUpNamespaces mounts /proc and /run, and switches loopback on.
func setUpNamespaces() error {
	mounts := []struct {
		source, target, kind string
		flags                uintptr
	}{
		{"", "/", "", unix.MS_REC | unix.MS_PRIVATE},
		{"proc", "/proc", "proc", 0},
		{"run", "/run", "tmpfs", 0}, // for a journald of our own
	}
	for _, m := range mounts {
		if err := unix.Mount(m.source, m.target, m.kind, m.flags, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m.target, err)
		}
	}
	if err := loopbackUp(); err != nil {
		return fmt.Errorf("switch loopback on: %w", err)
	}
	return os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", []byte("1024 65535"), 0)
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request)
}
