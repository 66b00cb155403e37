package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"greetd.example/internal/test/debian"
)

// Each system call of the listening sockets fails from its nth time on. Either greetd greets then, or
// it ends and says why: it is never ready and deaf.
func TestKernelErrorsEndTheDaemonOrAreSurvived(t *testing.T) {
	greetd, err := shipped()
	if err != nil {
		t.Fatal(err)
	}
	strace := debian.Program(t, "strace", "strace")
	for i, fault := range []string{
		"epoll_ctl:error=ENOSPC:when=2+", "epoll_ctl:error=ENOSPC:when=12+", "epoll_ctl:error=ENOMEM:when=12+",
		"epoll_ctl:error=ENOSPC:when=13+", "epoll_ctl:error=ENOSPC:when=14+", "epoll_ctl:error=ENOSPC:when=15+", "epoll_ctl:error=ENOMEM:when=16+",
		"epoll_wait:error=ENOMEM:when=1+", "epoll_wait:error=EINTR:when=1",
		"accept4:error=EPERM:when=1", "accept4:error=EPROTO:when=1..3", "accept4:error=ENETDOWN:when=2", "accept4:error=ENONET:when=1",
		"accept4:error=EOPNOTSUPP:when=1", "accept4:error=EINTR:when=1..2", "accept4:error=ENOMEM:when=1..2", "accept4:error=EMFILE:when=1",
		"accept4:error=EINVAL:when=1+", "listen:error=EADDRINUSE:when=1",
	} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			// An address that no other test has, and a port that the kernel picks for nobody.
			d := traced{directory: t.TempDir(), address: fmt.Sprintf("127.21.%d.%d:10021", os.Getpid()%250, i+1)}
			d.run(t, strace, greetd, fault)
			switch text, status := d.greeting(), d.healthz(); {
			case text != "" && status == http.StatusOK:
				d.stop(t, 0)
			case text != "" && status == 0:
				d.stop(t, 0)
				if !strings.Contains(d.said.String(), " for admin: ") {
					t.Errorf("the admin socket does not answer, and the log says nothing:\n%s", &d.said)
				}
			default:
				d.stop(t, 1, 71)
				if !strings.Contains(d.said.String(), "greetd: ") {
					t.Errorf("it has ended, and says no reason:\n%s", &d.said)
				}
			}
		})
	}
}

// traced is a greetd under strace.
type traced struct {
	directory string
	address   string
	command   *exec.Cmd
	said      bytes.Buffer
	ended     chan error
}

// run starts greetd with a fault of the kernel, and returns when it is ready or has ended.
func (d *traced) run(t *testing.T, strace, greetd, fault string) {
	t.Helper()
	name, _, _ := strings.Cut(fault, ":")
	d.command = exec.Command(strace, "-f", "-qq", "-o", os.DevNull, "-e", "trace="+name, "-e", "inject="+fault, greetd)
	d.command.Dir = d.directory
	d.command.Env = []string{"GREETD_LISTEN=" + d.address, "RUNTIME_DIRECTORY=" + d.directory}
	d.command.Stderr = &d.said
	d.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := d.command.Start(); err != nil {
		t.Fatal(err)
	}
	d.ended = make(chan error, 1)
	go func() { d.ended <- d.command.Wait() }()
	t.Cleanup(func() { _ = syscall.Kill(-d.command.Process.Pid, syscall.SIGKILL) })
}

// greeting is what a client hears when it tries until the daemon is there; "" if the daemon ends.
func (d *traced) greeting() string {
	for len(d.ended) == 0 {
		c, err := net.Dial("tcp", d.address)
		if err != nil {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		text, _ := io.ReadAll(c)
		_ = c.Close()
		if len(text) > 0 {
			return string(text)
		}
	}
	return ""
}

// healthz is the status of GET /healthz; 0 if nobody answers.
func (d *traced) healthz() int {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(d.directory, "admin.sock"))
	}}}
	for range 5 { // each may meet one failed accept
		if answer, err := client.Get("http://localhost/healthz"); err == nil {
			_ = answer.Body.Close()
			return answer.StatusCode
		}
	}
	return 0
}

// stop terminates greetd, unless it has ended, and expects one of these exit codes.
func (d *traced) stop(t *testing.T, codes ...int) {
	t.Helper()
	if codes[0] == 0 {
		_ = syscall.Kill(-d.command.Process.Pid, syscall.SIGTERM)
	}
	select {
	case <-d.ended:
	case <-time.After(30 * time.Second):
		t.Fatalf("it neither serves nor ends:\n%s", &d.said)
	}
	code := d.command.ProcessState.ExitCode()
	if !slices.Contains(codes, code) {
		t.Errorf("exit code %d, want one of %v:\n%s", code, codes, &d.said)
	}
}
