package probe_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"greetd.example/internal/test/testserver"
	"greetd.example/pkg/probe"
)

// TestBehaviour holds the library against real sockets, one row for each kind of
// server. The lower bounds are exact, the upper ones only far from the next deadline.
func TestBehaviour(t *testing.T) {
	t.Parallel()
	const (
		greeting  = "220 mail.example ESMTP\r\n"
		multiline = "220-gr\xc3\xbc\xc3\x9f\r\n220-dich\r\n220 Gott\r\n"
		hostile   = "\x1b[2J\x00 \xff\xe9 \u202e\x7f\u009b\n"
	)
	expect220 := probe.Probe{Expect: []probe.Pattern{probe.Text("220")}}
	// A server that speaks every second may be a little late on a busy machine.
	patient, patient220 := probe.Probe{Idle: 9 * time.Second}, expect220
	patient220.Idle = patient.Idle
	rows := []row{
		{"greets, holds open", testserver.Greet(greeting), probe.Probe{}, "ok", "line", greeting, 0, 2 * time.Second},
		{"greets, holds open, expected", testserver.Greet(greeting), expect220, "ok", "match", greeting, 0, 2 * time.Second},
		{"greets without 220, closes", testserver.GreetAndClose("hello\n"), probe.Probe{}, "ok", "line", "hello\n", 0, 5 * time.Second},
		{"greets without 220, closes, 220 expected", testserver.GreetAndClose("hello\n"), expect220, "mismatch", "eof", "hello\n", 0, 2 * time.Second},
		{"greets without newline, closes", testserver.GreetAndClose("hello"), probe.Probe{}, "ok", "eof", "hello", 0, 2 * time.Second},
		{"silent", testserver.Silent, probe.Probe{}, "no_greeting", "timeout", "", 10 * time.Second, 14 * time.Second},
		{"silent, 220 expected", testserver.Silent, expect220, "no_greeting", "timeout", "", 10 * time.Second, 14 * time.Second},
		{"resets at once", testserver.Reset, probe.Probe{}, "reset", "reset", "", 0, 5 * time.Second},
		{"closes at once", testserver.Close, probe.Probe{}, "closed", "eof", "", 0, 5 * time.Second},
		{"one byte a second", testserver.Repeat("x", time.Second), patient, "partial", "timeout", "xxxxxxxxxxx", 10 * time.Second, 14 * time.Second},
		{"one byte a second, expected", testserver.GreetInPieces(time.Second, "2", "2", "0", " ", "h"), patient220, "ok", "match", "220", 2 * time.Second, 10 * time.Second},
		{"1 MiB without newline", testserver.Big(1 << 20), probe.Probe{}, "ok", "max", strings.Repeat("x", 4096), 0, 2 * time.Second},
		{"1 MiB without newline, 220 expected", testserver.Big(1 << 20), expect220, "mismatch", "max", strings.Repeat("x", 4096), 0, 2 * time.Second},
		{"ANSI, NUL, 8-bit", testserver.Greet(hostile), probe.Probe{}, "ok", "line", hostile, 0, 2 * time.Second},
		{"endless lines", testserver.Repeat("hello\n", 0), probe.Probe{}, "ok", "line", "hello\n", 0, 2 * time.Second},
		{"a line a second for ever", testserver.Repeat("hello\n", time.Second), probe.Probe{}, "ok", "line", "hello\n", 0, time.Second},
		{"a line a second for ever, 220 expected", testserver.Repeat("hello\n", time.Second), patient220, "mismatch", "timeout", strings.Repeat("hello\n", 11), 10 * time.Second, 14 * time.Second},
		{"speaks after 3 s", testserver.GreetLate(greeting, 3*time.Second), probe.Probe{}, "ok", "line", greeting, 3 * time.Second, 9 * time.Second},
		{"splits lines and UTF-8", testserver.GreetInPieces(20*time.Millisecond, multiline[:2], multiline[2:7], multiline[7:20], multiline[20:]), probe.Probe{}, "ok", "line", multiline, 0, 5 * time.Second},
		{"part of a line, then reset", testserver.GreetAndReset("220 he"), probe.Probe{}, "reset", "reset", "220 he", 100 * time.Millisecond, 2 * time.Second},
		{"part of a line, then reset, matched early", testserver.GreetAndReset("220 he"), expect220, "ok", "match", "220 he", 0, 2 * time.Second},
		{"punishes early talkers", testserver.Strict(greeting), probe.Probe{}, "ok", "line", greeting, 200 * time.Millisecond, 5 * time.Second},
		{"login: and no newline", testserver.Greet("login: "), probe.Probe{}, "ok", "idle", "login: ", 2 * time.Second, 9 * time.Second},
		{"login: and no newline, 220 expected", testserver.Greet("login: "), expect220, "mismatch", "idle", "login: ", 2 * time.Second, 9 * time.Second},
		{"promises another line and stops", testserver.Greet("220-wait\r\n"), probe.Probe{Read: 3 * time.Second}, "partial", "timeout", "220-wait\r\n", 3 * time.Second, 9 * time.Second},
		{"MySQL", testserver.Greet("\x0c\x00\x00\x00\x0a8.0\n40\x00zzzz" + "more"), probe.Probe{}, "ok", "line", "\x0c\x00\x00\x00\x0a8.0\n40\x00zzzz", 0, 2 * time.Second},
	}
	// Each row waits, but not for the others: more at once than t.Parallel allows.
	var running sync.WaitGroup
	var all []*asked
	for _, row := range rows {
		one := &asked{row: row, server: testserver.Listen(t, row.behavior)}
		all = append(all, one)
		running.Go(func() { one.ask(t) })
	}
	running.Wait()
	for _, one := range all {
		t.Run(one.name, one.check)
	}
}

type row struct {
	name     string
	behavior testserver.Behavior
	probe    probe.Probe
	status   probe.Status
	end      probe.End
	text     string
	from, to time.Duration
}

// An asked row has its server and what came of it.
type asked struct {
	row
	server *testserver.Server
	result probe.Result
	took   time.Duration
}

func (row *asked) ask(t *testing.T) {
	t.Helper()
	row.probe.Protocol = probe.Plain
	began := time.Now()
	row.result = row.probe.Do(t.Context(), parse(t, row.server.Addr))
	row.took = time.Since(began)
}

func (row *asked) check(t *testing.T) {
	t.Helper()
	r := row.result
	if r.Status != row.status || r.Greeting == nil || r.Greeting.End != row.end {
		t.Fatalf("%s, %+v (%v), want %s/%s", r.Status, r.Greeting, r.Err, row.status, row.end)
	}
	got := string(r.Greeting.Bytes)
	if whole := row.end != "timeout"; got != row.text && (whole || got == "" || !strings.HasPrefix(row.text, got)) {
		t.Errorf("greeting = %q, want %q, or as much of it as came in time", got, row.text)
	}
	if truncated := row.end == "max"; r.Greeting.Truncated != truncated {
		t.Errorf("truncated = %v, want %v", r.Greeting.Truncated, truncated)
	}
	if row.took < row.from || row.took > row.to {
		t.Errorf("took %s, want %s to %s", row.took, row.from, row.to)
	}
	if (r.Err == nil) != (row.status == probe.OK) {
		t.Errorf("error = %v", r.Err)
	}
	if n := row.server.Received.Load(); n != 0 {
		t.Errorf("%d bytes were sent, unasked", n)
	}
}

func TestRefusedTellsTheErrno(t *testing.T) {
	r := new(probe.Probe).Do(t.Context(), parse(t, closedPort(t)))
	if r.Status != probe.Refused || r.Phase != probe.PhaseConnect || r.Greeting != nil {
		t.Errorf("%+v", r)
	}
	if len(r.Attempts) != 1 || r.Attempts[0].Result != probe.AttemptRefused {
		t.Errorf("attempts = %+v", r.Attempts)
	}
	if got := r.Err.Error(); got != "connection refused" {
		t.Errorf("error = %q", got)
	}
}

func TestBlackholeEndsAtTheConnectLimit(t *testing.T) {
	t.Parallel()
	target := parse(t, testserver.Blackhole(t, "tcp4", "127.0.0.1:0", nil, 0))
	r := new(probe.Probe).Do(t.Context(), target)
	if r.Status != probe.ConnectTimeout || r.Timing.Connect != nil {
		t.Errorf("%s %v, connect %v", r.Status, r.Err, r.Timing.Connect)
	}
	if r.Timing.Total < 5*time.Second || r.Timing.Total > 9*time.Second {
		t.Errorf("took %s, want about 5s", r.Timing.Total)
	}
	if r.TCP == nil || r.TCP.SynRetrans < 1 {
		t.Errorf("TCP = %+v, want SYNs sent again", r.TCP)
	}
}

func TestLateAcceptShowsSYNsSentAgain(t *testing.T) {
	t.Parallel()
	target := parse(t, testserver.Blackhole(t, "tcp4", "127.0.0.1:0", testserver.Greet("220 hi\n"), 500*time.Millisecond))
	r := new(probe.Probe).Do(t.Context(), target)
	if r.Status != probe.OK || r.TCP == nil || r.TCP.SynRetrans < 1 {
		t.Errorf("%s %v, TCP %+v; want ok, and a SYN sent again", r.Status, r.Err, r.TCP)
	}
	if r.Timing.Connect == nil || *r.Timing.Connect < time.Second {
		t.Errorf("connect took %v, want at least the second until the second SYN", r.Timing.Connect)
	}
}

func TestDirectConnectionNeedsOneSYN(t *testing.T) {
	server := testserver.Listen(t, testserver.Greet("220 hi\n"))
	r := new(probe.Probe).Do(t.Context(), parse(t, server.Addr))
	if r.TCP == nil || r.TCP.SynRetrans != 0 || r.TCP.RTT <= 0 {
		t.Errorf("TCP = %+v, want a round-trip time and no SYN sent again", r.TCP)
	}
}

func TestUnixSocket(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	testserver.ListenOn(t, "unix", path, testserver.Greet("hi\n"))
	r := new(probe.Probe).Do(t.Context(), parse(t, "unix:"+path))
	if r.Status != probe.OK || r.Remote != path || r.Family != 0 || r.TCP != nil {
		t.Errorf("%+v", r)
	}
	r = new(probe.Probe).Do(t.Context(), parse(t, "unix:"+dir+"/none"))
	if r.Status != probe.Unreachable || r.Err.Error() != "no such file or directory" {
		t.Errorf("%s %v", r.Status, r.Err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if r = new(probe.Probe).Do(t.Context(), parse(t, "unix:"+file)); r.Status != probe.Refused {
		t.Errorf("%s %v", r.Status, r.Err)
	}
}

func TestSourceAddress(t *testing.T) {
	server := testserver.Listen(t, testserver.Greet("hi\n"))
	target := parse(t, server.Addr)
	p := probe.Probe{Source: addr("127.0.0.9")}
	if r := p.Do(t.Context(), target); r.Status != probe.OK || !strings.HasPrefix(r.Local, "127.0.0.9:") {
		t.Errorf("%s from %s, want ok from 127.0.0.9", r.Status, r.Local)
	}
	p.Source = addr("192.0.2.99")
	if r := p.Do(t.Context(), target); r.Status != probe.LocalError {
		t.Errorf("%s, %v; want local_error", r.Status, r.Err)
	}
	p.Source = addr("::1")
	if r := p.Do(t.Context(), target); r.Status == probe.OK {
		t.Errorf("IPv4 was reached from ::1")
	}
}

func TestConnectOnlyReadsNothing(t *testing.T) {
	server := testserver.Listen(t, testserver.Silent)
	p := probe.Probe{ConnectOnly: true}
	r := p.Do(t.Context(), parse(t, server.Addr))
	if r.Status != probe.OK || r.Phase != probe.PhaseDone || r.Greeting != nil {
		t.Errorf("%+v", r)
	}
}

func TestSendAndQuitAreExact(t *testing.T) {
	server := testserver.Listen(t, testserver.GreetLate("hi\n", 100*time.Millisecond))
	p := probe.Probe{Send: "\x00a", Quit: "b\r\n"}
	if r := p.Do(t.Context(), parse(t, server.Addr)); r.Status != probe.OK {
		t.Errorf("%s %v", r.Status, r.Err)
	}
	if n := server.Received.Load(); n != 5 {
		t.Errorf("%d bytes were sent, want 5", n)
	}
}

func TestAbruptHangUp(t *testing.T) {
	ended := make(chan error, 1)
	server := testserver.Listen(t, func(c netConn) {
		c.Write([]byte("hi\n"))
		_, err := c.Read(make([]byte, 1))
		ended <- err
	})
	p := probe.Probe{HangUp: probe.Abruptly}
	p.Do(t.Context(), parse(t, server.Addr))
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "reset by peer") {
		t.Errorf("the server saw %v, want a reset", err)
	}
}
