package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"greetd.example/pkg/probe"
)

// runPing pings with these flags, and returns what is printed, and the exit code.
func runPing(ctx context.Context, t *testing.T, p probe.Probe, f pingFlags, asked <-chan os.Signal) (string, int) {
	t.Helper()
	target, err := probe.ParseTarget("192.0.2.1:25")
	if err != nil {
		t.Fatal(err)
	}
	if f.output == "" {
		f.output = "text"
	}
	var out strings.Builder
	s := newPingSeries(&f, target, streams{strings.NewReader(""), &out, io.Discard})
	err = s.run(ctx, p.Do, asked)
	code, _ := errors.AsType[exitCode](err)
	return out.String(), int(code)
}

// taking greets each visitor after the time that is its turn.
func taking(times ...time.Duration) func(context.Context, string, string) (net.Conn, error) {
	var turns atomic.Int64
	return func(context.Context, string, string) (net.Conn, error) {
		wait := times[(int(turns.Add(1))-1)%len(times)]
		if wait < 0 {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
		}
		client, server := net.Pipe()
		go func() {
			defer server.Close()
			time.Sleep(wait)
			greet(server)
		}()
		return client, nil
	}
}

func TestPing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := probe.Probe{Dial: taking(1234*time.Microsecond, 2*time.Millisecond, -1, -1, 150*time.Millisecond), Protocol: probe.Plain}
		got, code := runPing(t.Context(), t, p, pingFlags{count: 5, interval: time.Second}, nil)
		want := `probing 192.0.2.1:25 every 1s
11 bytes from 192.0.2.1:25: seq=1 time=1.23 ms
11 bytes from 192.0.2.1:25: seq=2 time=2.00 ms
192.0.2.1:25: seq=3 refused: connection refused
192.0.2.1:25: seq=4 refused: connection refused
11 bytes from 192.0.2.1:25: seq=5 time=150 ms

--- 192.0.2.1:25 greeting statistics ---
5 probes sent, 3 received, 40% loss, time 4000 ms
min/avg/max/mdev = 1.234/51.078/150.000/69.949 ms
p50/p90/p99 = 2.000/150.000/150.000 ms
longest outage 2.000 s: 2 probes, from seq 3 at 00:00:02
failed: refused 2
`
		if got != want {
			t.Errorf("got:\n%s\nwant:\n%s", got, want)
		}
		if code != exitConnect {
			t.Errorf("exit = %d, want %d", code, exitConnect)
		}
	})
}

// A probe that takes 2.5 s is overtaken by the next ones, which start on time.
func TestSlowProbesOverlap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		p := probe.Probe{Dial: taking(2500*time.Millisecond, time.Millisecond, time.Millisecond), Protocol: probe.Plain}
		got, code := runPing(t.Context(), t, p, pingFlags{count: 3, interval: time.Second}, nil)
		order := []string{"seq=2 time=1.00", "seq=3 time=1.00", "seq=1 time=2500", "3 probes sent, 3 received, 0% loss, time 2000 ms"}
		rest := got
		for _, want := range order {
			var found bool
			if _, rest, found = strings.Cut(rest, want); !found {
				t.Fatalf("no %q in its place:\n%s", want, got)
			}
		}
		if took := time.Since(began); took != 2500*time.Millisecond || code != 0 {
			t.Errorf("took %v with exit %d, want 2.5s and 0", took, code)
		}
	})
}

func TestPingSumsUpWhenAskedAndGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := make(chan os.Signal)
		time.AfterFunc(1500*time.Millisecond, func() { asked <- syscall.SIGQUIT })
		p := probe.Probe{Dial: taking(time.Millisecond), Protocol: probe.Plain}
		got, _ := runPing(t.Context(), t, p, pingFlags{count: 3, interval: time.Second}, asked)
		first, rest, _ := strings.Cut(got, "2 probes sent, 2 received")
		if !strings.Contains(first, "seq=2") || !strings.Contains(rest, "seq=3") ||
			!strings.Contains(rest, "3 probes sent, 3 received") {
			t.Errorf("want a summary after two probes, and one after three:\n%s", got)
		}
	})
}

func TestInterruptedPingDoesNotCountWhatWasUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, interrupt := context.WithCancel(t.Context())
		time.AfterFunc(2500*time.Millisecond, interrupt)
		p := probe.Probe{Dial: taking(time.Millisecond, time.Millisecond, 700*time.Millisecond), Protocol: probe.Plain}
		got, code := runPing(ctx, t, p, pingFlags{interval: time.Second}, nil)
		if !strings.Contains(got, "2 probes sent, 2 received, 0% loss") || code != exitCanceled {
			t.Errorf("exit %d, want %d and two probes:\n%s", code, exitCanceled, got)
		}
		time.Sleep(time.Second) // the server wakes up and sees that the client is gone
	})
}

func TestPingInJSON(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := probe.Probe{Dial: taking(3*time.Millisecond, -1), Protocol: probe.Plain}
		got, _ := runPing(t.Context(), t, p, pingFlags{count: 2, interval: time.Second, output: "json"}, nil)
		lines := strings.Split(strings.TrimSuffix(got, "\n"), "\n")
		if len(lines) != 3 {
			t.Fatalf("%d lines, want one for each of two probes and a summary:\n%s", len(lines), got)
		}
		for i, want := range []string{"ok", "refused"} {
			var r struct{ Schema, Status string }
			if err := json.Unmarshal([]byte(lines[i]), &r); err != nil || r.Schema != "greetprobe/1" || r.Status != want {
				t.Errorf("line %d: %v, %+v, want status %s", i+1, err, r, want)
			}
		}
		want := `{"schema":"greetprobe-ping/1","time":"2000-01-01T00:00:00.000000Z","target":"192.0.2.1:25",` +
			`"sent":2,"received":1,"loss_percent":50,"time_us":1000000,` +
			`"greeting_us":{"min":3000,"avg":3000,"max":3000,"mdev":0,"p50":3000,"p90":3000,"p99":3000},` +
			`"longest_outage":null,"outcomes":{"ok":1,"refused":1},"skipped":0,"final":true,"interrupted":false,"exit":3}`
		if lines[2] != want {
			t.Errorf("summary\n got %s\nwant %s", lines[2], want)
		}
	})
}

// As gather_statistics in ping_common.c of iputils prints them.
func TestPingTime(t *testing.T) {
	for us, want := range map[int]string{
		0: "0.000", 7: "0.007", 999: "0.999", 1000: "1.00", 1234: "1.23", 1235: "1.24",
		9994: "9.99", 9995: "10.0", 12_345: "12.3", 99_949: "99.9", 99_950: "100", 150_499: "150", 2_500_500: "2501",
	} {
		if got := pingTime(time.Duration(us) * time.Microsecond); got != want {
			t.Errorf("%d us = %s, want %s", us, got, want)
		}
	}
}
