package admin_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"greetd.example/internal/admin"
)

// pipes is a listener in memory, for fake time.
type pipes struct {
	addr     net.Addr // of all its connections, too
	incoming chan net.Conn
	closed   chan struct{}
	once     sync.Once
}

func newPipes(addr net.Addr) *pipes {
	return &pipes{addr: addr, incoming: make(chan net.Conn), closed: make(chan struct{})}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.incoming:
		return pipe{c, p.addr}, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return p.addr }

func (p *pipes) dial() net.Conn {
	near, far := net.Pipe()
	p.incoming <- far
	return near
}

type pipe struct {
	net.Conn

	addr net.Addr
}

func (p pipe) LocalAddr() net.Addr { return p.addr }

// hungUp waits until the server hangs up on c, and returns how long that took.
func hungUp(c net.Conn) time.Duration {
	began := time.Now()
	io.Copy(io.Discard, c)
	return time.Since(began)
}

func TestSlowClientsHaveSeconds(t *testing.T) {
	for name, begin := range map[string]string{
		"silent":        "",
		"in the header": "GET /status HTTP/1.1\r\nHost: localhost\r\n",
		"in the body":   "GET /status HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n",
		"in a chunk":    "GET /status HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ln := newPipes(&net.TCPAddr{})
				serve(t, whole(), ln)
				c := ln.dial()
				defer c.Close()
				var sender sync.WaitGroup
				if begin != "" {
					sender.Go(func() { // a byte a second, for as long as it is taken
						for _, err := io.WriteString(c, begin); err == nil; _, err = io.WriteString(c, "x") {
							time.Sleep(time.Second)
						}
					})
				}
				if took := hungUp(c); took < 4*time.Second || took > 6*time.Second {
					t.Errorf("it was hung up on after %v, want about 5s", took)
				}
				c.Close()
				sender.Wait()
			})
		})
	}
}

func TestAnswersThatNobodyReadsAreGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newPipes(&net.TCPAddr{})
		serve(t, whole(), ln)
		c := ln.dial() // a pipe has no buffer: whoever writes waits for the reader
		defer c.Close()
		io.WriteString(c, "GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n")
		time.Sleep(6 * time.Second)
		if n, err := c.Read(make([]byte, 1)); err == nil {
			t.Errorf("after 6s, %d bytes came, want a hang-up", n)
		}
	})
}

func TestIdleClientsAreKeptForTwoMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newPipes(&net.TCPAddr{})
		serve(t, whole(), ln)
		c := ln.dial()
		defer c.Close()
		in := bufio.NewReader(c)
		for range 3 { // scrapes
			io.WriteString(c, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
			read(t, in, "GET")
			time.Sleep(time.Minute)
		}
		if took := hungUp(c); took != time.Minute {
			t.Errorf("it was hung up on %v after its last minute, want 1m", took)
		}
	})
}

func TestFloodOfRequestsWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var answered atomic.Int64
		d := whole()
		d.Status = func() admin.Status { answered.Add(1); return admin.Status{} }
		ln := newPipes(&net.TCPAddr{})
		serve(t, d, ln)
		for range 8 {
			c := ln.dial()
			defer c.Close()
			go io.Copy(io.Discard, c)
			go func() {
				for err := error(nil); err == nil; {
					_, err = io.WriteString(c, "GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n")
				}
			}()
		}
		time.Sleep(10 * time.Second)
		if n := answered.Load(); n < 500 || n > 620 {
			t.Errorf("%d requests were answered in 10s, want the burst of 100 and 50 a second", n)
		}
	})
}

// hold opens 600 connections that stay in the middle of something.
func hold(t *testing.T, address string) {
	t.Helper()
	for i := range 600 {
		c := dial(t, address)
		io.WriteString(c, []string{
			"",
			"G",
			"GET /status HTTP/1.1\r\nHost: ",
			"GET /status HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx",
			"POST /reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n",
			"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", // and never reads it, nor hangs up
		}[i%6])
		if half, ok := c.(interface{ CloseWrite() error }); ok && i%5 == 0 {
			half.CloseWrite()
		}
	}
}

func TestHonestClientsGetThrough(t *testing.T) {
	d := whole()
	d.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for range 1000 { // more than a socket takes without a reader
			if _, err := io.WriteString(w, strings.Repeat("x", 64<<10)); err != nil {
				return
			}
		}
	})
	unix, tcp := start(t, d)
	before := openFiles(t)
	hold(t, tcp)
	working(t, tcp)
	working(t, unix)
	hold(t, unix)
	working(t, unix)
	working(t, tcp)
	// Our own ends are open, and so many of the server's.
	if server := openFiles(t) - before - 1200; server > 2*512 {
		t.Errorf("the server holds %d connections, want at most 512 for each listener", server)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestGarbageIsRefused(t *testing.T) {
	unix, tcp := start(t, whole())
	for _, test := range []struct {
		name, request string
		code          int
	}{
		{"another protocol", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400},
		{"a long line", "GET /" + strings.Repeat("x", 1<<20) + " HTTP/1.1\r\n\r\n", 431},
		{"a long header", "GET /status HTTP/1.1\r\nHost: x\r\nCookie: " + strings.Repeat("x", 1<<20) + "\r\n\r\n", 431},
		{"many headers", "GET /status HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("a: b\r\n", 1<<18) + "\r\n", 431},
		{"a huge body", "POST /log-level HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000000\r\n\r\n" + strings.Repeat("x", 1<<20), 413},
		{"a body without end", "POST /reload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("400\r\n"+strings.Repeat("x", 1024)+"\r\n", 1000), 413},
		{"two lengths", "POST /log-level HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx", 400},
		{"a length below zero", "POST /log-level HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400},
		{"no host", "GET /status HTTP/1.1\r\n\r\n", 400},
		{"two hosts", "GET /status HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400},
		{"the whole server", "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 200},
		{"a tunnel", "CONNECT x:1 HTTP/1.1\r\nHost: x:1\r\n\r\n", 404},
		{"HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 404},
	} {
		for _, address := range []string{unix, tcp} {
			c := dial(t, address)
			go io.WriteString(c, test.request) // the server need not take all of it
			want := test.code
			if want == 404 && address == tcp {
				want = 405 // the method is wrong there, whatever the path
			}
			if got := read(t, bufio.NewReader(c), "GET"); got.code != want {
				t.Errorf("%s at %s: %d, want %d", test.name, address, got.code, want)
			}
		}
	}
	working(t, unix)
	working(t, tcp)
}

func TestShutdownDoesNotWaitForTheSilent(t *testing.T) {
	address := "unix:" + socketDir(t) + "/s"
	server := serve(t, whole(), listen(t, address))
	hold(t, address)
	working(t, address)
	began := time.Now()
	if err := server.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	// The one generous bound here: without care, it is the 5s of the read timeout.
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("Shutdown took %v", took)
	}
	if _, err := admin.Dial(address).Status(t.Context()); !errors.Is(err, admin.ErrNoDaemon) {
		t.Errorf("after Shutdown: %v, want ErrNoDaemon", err)
	}
}

func TestReloadOutlivesItsClient(t *testing.T) {
	begun, goOn, ended := make(chan struct{}), make(chan struct{}), make(chan error)
	d := whole()
	d.Reload = func(ctx context.Context) admin.ReloadResult {
		close(begun)
		<-goOn
		ended <- ctx.Err()
		return admin.ReloadResult{OK: true}
	}
	unix, _ := start(t, d)
	c := dial(t, unix)
	fmt.Fprint(c, "POST /reload HTTP/1.1\r\nHost: localhost\r\n\r\n")
	<-begun
	c.Close()
	working(t, unix)
	close(goOn)
	if err := <-ended; err != nil {
		t.Errorf("the reload was cancelled with its client: %v", err)
	}
}

func TestReloadTakesAsLongAsItTakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := whole()
		d.Reload = func(context.Context) admin.ReloadResult {
			time.Sleep(time.Hour)
			return admin.ReloadResult{OK: true, Generation: 7}
		}
		ln := newPipes(&net.UnixAddr{})
		serve(t, d, ln)
		c := ln.dial()
		defer c.Close()
		in := bufio.NewReader(c)
		for range 2 {
			fmt.Fprint(c, "POST /reload HTTP/1.1\r\nHost: localhost\r\n\r\n")
			if got := read(t, in, "POST"); got.code != 200 || !strings.Contains(got.body, `"generation": 7`) {
				t.Errorf("%d %q, want the result", got.code, got.body)
			}
		}
	})
}

func TestReloadsDoNotGiveWay(t *testing.T) {
	address := "unix:" + socketDir(t) + "/s"
	ln := listen(t, address)
	d := whole()
	begun, goOn := make(chan struct{}, 100), make(chan struct{})
	d.Reload = func(context.Context) admin.ReloadResult {
		begun <- struct{}{}
		<-goOn
		return admin.ReloadResult{OK: true, Generation: 7}
	}
	serve(t, d, ln)
	release := sync.OnceFunc(func() { close(goOn) })
	t.Cleanup(release)

	answers := make(chan error, 8)
	for range 8 {
		go func() {
			result, err := admin.Dial(address).Reload(t.Context())
			if err == nil && result.Generation != 7 {
				err = fmt.Errorf("result %+v", result)
			}
			answers <- err
		}()
		<-begun
	}
	if _, err := admin.Dial(address).Reload(t.Context()); err == nil || !strings.Contains(err.Error(), "8 reloads are waiting already") {
		t.Errorf("the ninth: %v, want to be turned away", err)
	}
	hold(t, address) // others don't push a reload out
	working(t, address)
	release()
	for range 8 {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
}

func TestShutdownLetsTheReloadAnswer(t *testing.T) {
	address := "unix:" + socketDir(t) + "/s"
	begun, goOn := make(chan struct{}), make(chan struct{})
	d := whole()
	d.Reload = func(ctx context.Context) admin.ReloadResult {
		close(begun)
		<-goOn
		return admin.ReloadResult{OK: ctx.Err() == nil, Generation: 7}
	}
	server := serve(t, d, listen(t, address))
	c := dial(t, address)
	fmt.Fprint(c, "POST /reload HTTP/1.1\r\nHost: localhost\r\n\r\n")
	<-begun

	down := make(chan error)
	go func() { down <- server.Shutdown(context.Background()) }()
	for { // until the listener is gone
		if _, err := os.Lstat(strings.TrimPrefix(address, "unix:")); err != nil {
			break
		}
	}
	select {
	case err := <-down:
		t.Fatalf("Shutdown returned %v with a reload under way", err)
	default:
	}
	close(goOn)
	if got := read(t, bufio.NewReader(c), "POST"); got.code != 200 || !strings.Contains(got.body, `"generation": 7`) {
		t.Errorf("%d %q, want the result", got.code, got.body)
	}
	if err := <-down; err != nil {
		t.Error(err)
	}
}

func TestShutdownCutsALongReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := make(chan struct{})
		var running atomic.Bool
		d := whole()
		d.Reload = func(ctx context.Context) admin.ReloadResult {
			running.Store(true)
			close(begun)
			<-ctx.Done()
			time.Sleep(time.Second) // it cleans up
			running.Store(false)
			return admin.ReloadResult{}
		}
		ln := newPipes(&net.UnixAddr{})
		server := serve(t, d, ln)
		c := ln.dial()
		defer c.Close()
		fmt.Fprint(c, "POST /reload HTTP/1.1\r\nHost: localhost\r\n\r\n")
		<-begun
		enough := errors.New("enough")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, enough)
		defer cancel()
		began := time.Now()
		if err := server.Shutdown(ctx); !errors.Is(err, enough) {
			t.Errorf("Shutdown: %v, want its context's cause", err)
		}
		if took := time.Since(began); took != time.Minute+time.Second {
			t.Errorf("Shutdown took %v, want the time of its context and of the reload's cleaning up", took)
		}
		if running.Load() {
			t.Error("a reload outlived Shutdown")
		}
	})
}

func TestServeAfterShutdown(t *testing.T) {
	server := admin.New(whole())
	if err := server.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	ln := listen(t, "127.0.0.1:0")
	if err := server.Serve(ln); err != nil {
		t.Error(err)
	}
	if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the listener is still open: %v", err)
	}
}

// A breaking listener fails to accept with each of its errors before it works.
type breaking struct {
	*pipes

	errs []error
}

func (b *breaking) Accept() (net.Conn, error) {
	if len(b.errs) == 0 {
		return b.pipes.Accept()
	}
	err := b.errs[0]
	b.errs = b.errs[1:]
	return nil, err
}

func TestAcceptTriesAgainAfterWhatPasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := &breaking{pipes: newPipes(&net.TCPAddr{})}
		for _, errno := range []syscall.Errno{
			syscall.ECONNABORTED, syscall.EINTR, syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ENOSPC,
			syscall.EPERM, syscall.EPROTO, syscall.ENETDOWN, syscall.ENONET, syscall.EOPNOTSUPP, syscall.ENOPROTOOPT,
			syscall.EHOSTDOWN, syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.ETIMEDOUT,
		} {
			ln.errs = append(ln.errs, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", errno)})
		}
		serve(t, whole(), ln)
		c := ln.dial()
		defer c.Close()
		io.WriteString(c, "GET /healthz HTTP/1.0\r\n\r\n")
		if got := read(t, bufio.NewReader(c), "GET"); got.code != 200 {
			t.Errorf("%d %q", got.code, got.body)
		}
	})
}

func TestShutdownInterruptsTheAcceptPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := &breaking{pipes: newPipes(&net.TCPAddr{}), errs: []error{syscall.EMFILE}}
		server := serve(t, whole(), ln)
		synctest.Wait()
		began := time.Now()
		if err := server.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("Shutdown took %v, want no time at all", took)
		}
	})
}

func TestServeGivesUpOnABrokenListener(t *testing.T) {
	ln := &breaking{pipes: newPipes(&net.TCPAddr{}), errs: []error{syscall.EINVAL}}
	server := admin.New(whole())
	if err := server.Serve(ln); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("Serve: %v, want EINVAL", err)
	}
	select {
	case <-ln.closed:
	default:
		t.Error("Serve left the listener open")
	}
}
