package probe_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"greetd.example/internal/test/testserver"
	"greetd.example/pkg/probe"
)

// clientCount is how many greetings or silent targets the promises about scale name.
const (
	clientCount = 10_000
	blackholed  = 1000
)

// BenchmarkGreetings probes 10,000 targets and has as many connections made by a bare
// loop, in turns and with the same concurrency. "ratio" is the median of the time that
// the probes took, in times of the loop. The server is a process of its own.
func BenchmarkGreetings(b *testing.B) {
	for _, parallel := range []int{probe.DefaultParallel, 1000} {
		b.Run(fmt.Sprintf("parallel=%d", parallel), func(b *testing.B) {
			port := serveApart(b)
			var ratios []float64
			for round := 0; b.Loop(); round++ {
				// No pair of addresses and ports twice: the last round's are in TIME_WAIT.
				addr := netip.AddrFrom4([4]byte{127, byte(round >> 8), byte(round), 1})
				target := probe.Target{Host: addr.String(), Addr: addr, Port: port}
				var ours, bare time.Duration
				if round%2 == 0 {
					ours = timed(func() { probeMany(b, target, parallel) })
				}
				bare = timed(func() { dialMany(b, netip.AddrPortFrom(addr.Next(), port).String(), parallel) })
				if round%2 == 1 {
					ours = timed(func() { probeMany(b, target, parallel) })
				}
				ratios = append(ratios, ours.Seconds()/bare.Seconds())
			}
			slices.Sort(ratios)
			b.ReportMetric(ratios[len(ratios)/2], "ratio")
		})
	}
}

func timed(f func()) time.Duration {
	began := time.Now()
	f()
	return time.Since(began)
}

// probeMany probes target again and again.
func probeMany(tb testing.TB, target probe.Target, parallel int) {
	tb.Helper()
	var p probe.Probe
	many := probe.Many{Parallel: parallel, Do: func(ctx context.Context, t probe.Target) []probe.Result {
		return []probe.Result{p.Do(ctx, t)}
	}}
	many.Run(tb.Context(), slices.Values(slices.Repeat([]probe.Target{target}, clientCount)), func(r probe.Result) {
		if r.Status != probe.OK {
			tb.Fatalf("%s: %v", r.Status, r.Err)
		}
	})
}

// dialMany is the least that a Go program has to do for a greeting.
func dialMany(tb testing.TB, addr string, parallel int) {
	tb.Helper()
	var left atomic.Int64
	left.Store(clientCount)
	var workers sync.WaitGroup
	for range parallel {
		workers.Go(func() {
			for left.Add(-1) >= 0 {
				if err := dialOnce(addr); err != nil {
					tb.Error(err)
				}
			}
		})
	}
	workers.Wait()
}

func dialOnce(addr string) error {
	c, err := net.DialTimeout("tcp", addr, probe.DefaultConnect)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(probe.DefaultRead)); err != nil {
		return err
	}
	_, err = bufio.NewReaderSize(c, 512).ReadSlice('\n')
	return err
}

// serving makes the test binary a server on every address of this machine. It tells
// its port, and greets until its standard input ends.
const serving = "PROBE_TEST_SERVING"

func TestMain(m *testing.M) {
	if os.Getenv(serving) != "" {
		serve()
		return
	}
	os.Exit(m.Run())
}

func serve() {
	ln, err := net.Listen("tcp4", ":0")
	if err != nil {
		panic(err)
	}
	fmt.Println(ln.Addr().(*net.TCPAddr).Port)
	go func() { // the end of the process ends it
		for {
			c, err := ln.Accept()
			if err != nil {
				panic(err)
			}
			go func() {
				testserver.Greet("Hello there, 127.0.0.1!\n")(c) // no protocol of which QUIT would have to be answered
				c.Close()
			}()
		}
	}()
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// serveApart starts a server in a process of its own, and returns its port.
func serveApart(tb testing.TB) (port uint16) {
	tb.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), serving+"=1")
	in, errIn := cmd.StdinPipe()
	out, errOut := cmd.StdoutPipe()
	if err := errors.Join(errIn, errOut, cmd.Start()); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		in.Close()
		_ = cmd.Wait()
	})
	if _, err := fmt.Fscan(out, &port); err != nil {
		tb.Fatal(err)
	}
	return port
}

// A thousand targets that don't answer take no longer than one.
func TestBlackholedTargets(t *testing.T) {
	t.Parallel()
	target := parse(t, testserver.Blackhole(t, "tcp4", "127.0.0.1:0", nil, 0))
	var p probe.Probe
	many := probe.Many{Parallel: blackholed, Do: func(ctx context.Context, t probe.Target) []probe.Result {
		return []probe.Result{p.Do(ctx, t)}
	}}
	count := 0
	began := time.Now()
	many.Run(t.Context(), slices.Values(slices.Repeat([]probe.Target{target}, blackholed)), func(r probe.Result) {
		if count++; r.Status != probe.ConnectTimeout {
			t.Errorf("%s: %v, want %s", r.Status, r.Err, probe.ConnectTimeout)
		}
	})
	took := time.Since(began)
	t.Logf("%d targets in %s", count, took)
	if count != blackholed || took < probe.DefaultConnect || took > 3*probe.DefaultConnect {
		t.Errorf("%d targets in %s, want %d in little more than %s", count, took, blackholed, probe.DefaultConnect)
	}
}
