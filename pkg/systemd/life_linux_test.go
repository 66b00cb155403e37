package systemd

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"greetd.example/internal/test/debian"
)

// An inbox is what a service manager got, for tests in fake time: it reads outside of it.
type inbox struct {
	address string
	text    <-chan string // all of it, when "END" has come
}

func openInbox(t *testing.T) inbox {
	t.Helper()
	path := filepath.Join(filepath.Dir(socketPath(t)), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	text := make(chan string, 1)
	go func() { // until "END", or the end of the test
		var all strings.Builder
		for b := make([]byte, 4096); ; {
			n, err := conn.Read(b)
			if err != nil || string(b[:n]) == "END" {
				text <- all.String()
				return
			}
			all.Write(append(b[:n:n], '\n'))
		}
	}()
	return inbox{path, text}
}

// lines returns the lines of all messages that begin with prefix. Call it once.
func (i inbox) lines(t *testing.T, prefix string) (lines []string) {
	t.Helper()
	c, err := net.Dial("unixgram", i.address)
	must(t, err)
	defer c.Close()
	_, err = c.Write([]byte("END"))
	must(t, err)
	for line := range strings.SplitSeq(<-i.text, "\n") {
		if strings.HasPrefix(line, prefix) {
			lines = append(lines, line)
		}
	}
	return lines
}

// systemctl status shows what a service does, while it runs, lingers and drains, and no
// message says what the one before has said.
func TestStatusIsKeptUpToDate(t *testing.T) {
	in := openInbox(t)
	outside, err := Start(t.Context()) // the first one starts a goroutine of the runtime, for signals
	must(t, err)
	must(t, outside.Close())
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		svc, err := Start(ctx)
		must(t, err)
		defer svc.Close()
		began := time.Now()
		svc.Status = func() string {
			return [...]string{"none", "one", "lingers", "drains", "ends"}[min(time.Since(began)/(10*time.Second), 4)]
		}
		must(t, svc.Ready())
		time.AfterFunc(20*time.Second+500*time.Millisecond, cancel) // after the last tick with "one"
		_, _ = svc.Wait(nil)
		must(t, svc.Linger(context.WithoutCancel(ctx), 9*time.Second))
		must(t, svc.Drain(context.WithoutCancel(ctx), func(context.Context) error { time.Sleep(5 * time.Second); return nil }))
	})
	got := in.lines(t, "STATUS=")
	for _, want := range []string{"STATUS=none", "STATUS=one", "STATUS=lingers", "STATUS=drains"} {
		if !slices.Contains(got, want) {
			t.Errorf("%q lacks %q", got, want)
		}
	}
	if running := slices.Index(got, "STATUS=lingers"); running > 4 {
		t.Errorf("the same status was sent again and again: %q", got[:running])
	}
}

// Four times in WatchdogSec= the service proves that it works, and only then systemd hears of it.
func TestWatchdogTellsWhatWasProved(t *testing.T) {
	in := openInbox(t)
	t.Setenv("WATCHDOG_USEC", "20000000")
	t.Setenv("WATCHDOG_PID", "")
	outside, err := Start(t.Context())
	must(t, err)
	must(t, outside.Close())
	var proofs, reports int
	synctest.Test(t, func(t *testing.T) {
		svc, err := Start(t.Context())
		must(t, err)
		began := time.Now()
		svc.Report = func(err error) {
			if reports++; !errors.Is(err, unix.ECONNREFUSED) {
				t.Errorf("reported: %v", err)
			}
		}
		svc.Watchdog(func(ctx context.Context) error {
			proofs++
			if end, ok := ctx.Deadline(); !ok || time.Until(end) != 5*time.Second {
				t.Errorf("a proof has until %v", end)
			}
			if time.Since(began) > 30*time.Second {
				return unix.ECONNREFUSED
			}
			return nil
		})
		time.Sleep(50*time.Second - 1) // proofs at 0, 5, 10 and so on
		synctest.Wait()
		must(t, svc.Close())
	})
	if pings := len(in.lines(t, "WATCHDOG=1")); proofs != 10 || pings != 7 || reports != 3 {
		t.Errorf("%d proofs, %d pings and %d reports, want 10, 7 and 3", proofs, pings, reports)
	}
}

// A proof that takes longer than its time is waited for, not doubled.
func TestOneProofAtATime(t *testing.T) {
	openInbox(t)
	t.Setenv("WATCHDOG_USEC", "20000000")
	t.Setenv("WATCHDOG_PID", "")
	outside, err := Start(t.Context())
	must(t, err)
	must(t, outside.Close())
	synctest.Test(t, func(t *testing.T) {
		svc, err := Start(t.Context())
		must(t, err)
		svc.Report = func(err error) { t.Error(err) }
		var begun []time.Duration
		began := time.Now()
		svc.Watchdog(func(context.Context) error {
			begun = append(begun, time.Since(began))
			time.Sleep(12 * time.Second)
			return nil
		})
		time.Sleep(29 * time.Second)
		synctest.Wait()
		if want := []time.Duration{0, 15 * time.Second}; !slices.Equal(begun, want) {
			t.Errorf("proofs began after %v, want %v", begun, want)
		}
		must(t, svc.Close())
	})
}

// A drain that cuts says so, and a client that hung up without its answer does not delay it.
func TestRunReportsWhatItCut(t *testing.T) {
	for _, hangsUp := range []bool{true, false} {
		for _, address := range []string{"127.0.0.1:0", "unix:" + socketPath(t)} {
			t.Setenv("NOTIFY_SOCKET", "")
			ctx, cancel := context.WithCancel(t.Context())
			svc, err := Start(ctx)
			must(t, err)
			var reports []string
			svc.Report = func(err error) { reports = append(reports, err.Error()) }
			svc.DrainTimeout = 100 * time.Millisecond
			if hangsUp {
				svc.DrainTimeout = time.Minute
			}
			ln, err := svc.Listen("web", address)
			must(t, err)
			asked := make(chan struct{})
			server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				close(asked)
				<-r.Context().Done() // the client hung up, or was cut
				panic(http.ErrAbortHandler)
			})}
			ended := make(chan error, 1)
			go func() { ended <- svc.Run(server, ln) }()
			c, err := net.Dial(ln.Addr().Network(), ln.Addr().String())
			must(t, err)
			_, err = c.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
			must(t, err)
			<-asked
			if hangsUp {
				must(t, c.Close())
			} else {
				defer c.Close()
			}
			began := time.Now()
			cancel()
			must(t, <-ended)
			if cut := strings.Contains(strings.Join(reports, "\n"), "connections were cut: "); cut == hangsUp {
				t.Errorf("%s, hangs up %t: reported %q", address, hangsUp, reports)
			}
			if took := time.Since(began); took > 20*time.Second {
				t.Errorf("%s, hangs up %t: the drain took %s", address, hangsUp, took)
			}
			must(t, svc.Close())
		}
	}
}

// A handler that has begun its answer learns of the shutdown, which waits for it.
func TestRunShutsDownWhileAnAnswerIsSent(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "unix:" + socketPath(t)} {
		t.Setenv("NOTIFY_SOCKET", "")
		ctx, cancel := context.WithCancel(t.Context())
		svc, err := Start(ctx)
		must(t, err)
		svc.Report = func(err error) { t.Error(err) }
		svc.DrainTimeout = time.Minute
		ln, err := svc.Listen("web", address)
		must(t, err)
		stopping := make(chan struct{})
		server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_ = http.NewResponseController(w).Flush()
			<-stopping
		})}
		server.RegisterOnShutdown(func() { close(stopping) })
		ended := make(chan error, 1)
		go func() { ended <- svc.Run(server, ln) }()
		c, err := net.Dial(ln.Addr().Network(), ln.Addr().String())
		must(t, err)
		defer c.Close()
		_, err = c.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
		must(t, err)
		_, err = c.Read(make([]byte, 1))
		must(t, err)
		began := time.Now()
		cancel()
		must(t, <-ended)
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("%s: the shutdown took %s", address, took)
		}
		must(t, svc.Close())
	}
}

// A reload that is running when the service has to stop learns why.
func TestStopEndsAReload(t *testing.T) {
	svc, _ := start(t)
	begun, cause := make(chan struct{}), make(chan error, 1)
	svc.OnReload(func(ctx context.Context) error {
		close(begun)
		<-ctx.Done()
		cause <- context.Cause(ctx)
		return nil
	})
	must(t, svc.Ready())
	svc.signals <- unix.SIGHUP
	go func() {
		<-begun
		svc.signals <- unix.SIGTERM
	}()
	why, err := svc.Wait(nil)
	must(t, err)
	if got := <-cause; got.Error() != why || why != "received SIGTERM" {
		t.Errorf("Wait returned %q, and the reload ended with %v", why, got)
	}
}

// Whatever accept(2) says, a reload can be asked for afterwards.
func TestReloadsAreAcceptedAfterEachError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		errs := []error{unix.ENOBUFS, unix.ENOMEM, unix.EMFILE, unix.EINTR, unix.ECONNABORTED, unix.EPERM}
		calls, began := 0, time.Now()
		new(Service).acceptReloads(func() (*net.UnixConn, error) {
			if calls++; calls > len(errs) {
				return nil, net.ErrClosed
			}
			return nil, &net.OpError{Op: "accept", Err: errs[calls-1]}
		})
		if took := time.Since(began); calls != len(errs)+1 || took < time.Duration(len(errs))*100*time.Millisecond {
			t.Errorf("accept was called %d times in %s", calls, took)
		}
	})
}

// as calls do in a thread of its own of that user and group.
func as(t *testing.T, uid, gid int, do func()) {
	t.Helper()
	if os.Getuid() != 0 {
		debian.Lacking(t, "root")
	}
	done := make(chan bool)
	go func() {
		defer close(done)
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		for _, call := range [][4]uintptr{{unix.SYS_SETGROUPS}, {unix.SYS_SETRESGID, ^uintptr(0), uintptr(gid), ^uintptr(0)}, {unix.SYS_SETRESUID, ^uintptr(0), uintptr(uid), ^uintptr(0)}} {
			if _, _, errno := unix.RawSyscall(call[0], call[1], call[2], call[3]); errno != 0 {
				t.Error(errno)
				return
			}
		}
		do()
	}()
	<-done
}

// Only root and the service's user, who could send SIGHUP, may ask for a reload.
func TestWhoMayAskForAReload(t *testing.T) {
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: "@greetd-test-who-" + strconv.Itoa(os.Getpid()), Net: "unix"})
	must(t, err)
	defer ln.Close()
	for _, test := range []struct {
		service, client int
		may             bool
	}{{0, 0, true}, {0, 12345, false}, {12345, 0, true}, {12345, 12345, true}, {12345, 12346, false}} {
		var c *net.UnixConn
		as(t, test.client, 0, func() { c, err = net.DialUnix("unix", nil, ln.Addr().(*net.UnixAddr)) })
		must(t, err)
		accepted, err := ln.AcceptUnix()
		must(t, err)
		as(t, test.service, 0, func() {
			if may := maySignal(accepted); may != test.may {
				t.Errorf("user %d may ask a service of %d: %t", test.client, test.service, may)
			}
		})
		must(t, errors.Join(c.Close(), accepted.Close()))
	}

	svc, _ := start(t)
	reloads := 0
	svc.OnReload(func(context.Context) error { reloads++; return nil })
	must(t, errors.Join(svc.AcceptReloads(), svc.Ready()))
	t.Setenv("MAINPID", strconv.Itoa(os.Getpid()))
	as(t, 12345, 0, func() { err = RequestReload(t.Context()) })
	if err == nil || reloads != 0 {
		t.Errorf("another user: %v, %d reloads", err, reloads)
	}
}

func TestGroupsHaveNames(t *testing.T) {
	root, err := user.LookupGroupId("0")
	must(t, err)
	for group, want := range map[string]int{root.Name: 0, "0": 0, "4711": 4711} {
		if number, err := groupNumber(group); err != nil || number != want {
			t.Errorf("%s is %d, %v", group, number, err)
		}
	}
}

// ExecReload= is the daemon's own program, with one argument.
func TestMainReloads(t *testing.T) {
	svc, _ := start(t)
	reloads := 0
	svc.OnReload(func(context.Context) error { reloads++; return nil })
	must(t, svc.AcceptReloads())
	must(t, svc.Ready())
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "reload")
	cmd.Env = append(os.Environ(), roleVariable+"=daemon", "NOTIFY_SOCKET=", "MAINPID="+strconv.Itoa(os.Getpid()))
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 || reloads != 1 {
		t.Errorf("%q, %v, %d reloads", out, err, reloads)
	}
}
