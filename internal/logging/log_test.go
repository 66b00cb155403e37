package logging

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/syslog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"greetd.example/internal/test/journald"
	"greetd.example/pkg/journal"
	"greetd.example/pkg/service"
)

var defaults = Options{Output: toJournald, Level: "info", Format: "text", Visits: "all", Rate: 300, Burst: 1000}

// busy is a flushTime for a machine that has more to do.
const busy = time.Minute

// openTo opens a Log of o to j, with stderr in a file.
func openTo(t *testing.T, j *journald.Journal, o Options) *Log {
	t.Helper()
	l, err := open(o, testEnvironment(t, j.Path))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func testEnvironment(t *testing.T, socket string) *environment {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return &environment{stdout: standard{File: os.Stdout}, stderr: standard{File: file, journal: true}, journalSocket: socket, syslogSocket: socket}
}

func visit(id uint64, outcome service.Outcome) service.Visit {
	v := service.Visit{
		Peer: service.Peer{
			ID: id, Listener: "greet",
			Remote: netip.MustParseAddrPort("192.0.2.7:51234"),
			Local:  netip.MustParseAddrPort("192.0.2.1:10000"),
		},
		Outcome: outcome, Written: 25, Took: 1234 * time.Microsecond,
	}
	if outcome != service.Greeted {
		v.Err, v.Reason = errors.New("because"), outcome.Reasons()[0]
	}
	return v
}

func TestVisitInTheJournal(t *testing.T) {
	j := journald.Start(t).Run()
	l := openTo(t, j, defaults)
	l.Opened(visit(7, service.Greeted).Peer)
	l.Closed(visit(7, service.Greeted))
	v := visit(8, service.Refused)
	v.Proxy = netip.MustParseAddrPort("[::ffff:10.0.0.1]:4000")
	l.Closed(v)
	l.Closed(service.Visit{Peer: service.Peer{ID: 9, Listener: "local"}, Outcome: service.Cut})
	got := j.Wait(3)

	want := []journald.Fields{{
		"MESSAGE": "greeted 192.0.2.7:51234 on greet, 25 bytes in 1.2 ms", "PRIORITY": "6",
		"SYSLOG_IDENTIFIER": "greetd", "MESSAGE_ID": VisitGreeted.ID(),
		"GREETD_VISIT": "7", "GREETD_LISTENER": "greet", "GREETD_REMOTE_ADDR": "192.0.2.7",
		"GREETD_REMOTE_PORT": "51234", "GREETD_OUTCOME": "greeted", "GREETD_BYTES": "25", "GREETD_DURATION_USEC": "1234",
	}, {
		"MESSAGE":  "refused 192.0.2.7:51234 via 10.0.0.1:4000 on greet, 25 bytes in 1.2 ms: because",
		"PRIORITY": "5", "SYSLOG_IDENTIFIER": "greetd", "MESSAGE_ID": VisitRefused.ID(),
		"GREETD_VISIT": "8", "GREETD_LISTENER": "greet", "GREETD_REMOTE_ADDR": "192.0.2.7",
		"GREETD_REMOTE_PORT": "51234", "GREETD_PROXY_ADDR": "10.0.0.1", "GREETD_OUTCOME": "refused", "GREETD_REASON": "denied",
		"GREETD_BYTES": "25", "GREETD_DURATION_USEC": "1234", "GREETD_ERROR": "because",
	}, {
		"MESSAGE":  "cut local client on local, 0 bytes in 0 us",
		"PRIORITY": "4", "SYSLOG_IDENTIFIER": "greetd", "MESSAGE_ID": VisitCut.ID(),
		"GREETD_VISIT": "9", "GREETD_LISTENER": "local", "GREETD_OUTCOME": "cut",
		"GREETD_BYTES": "0", "GREETD_DURATION_USEC": "0",
	}}
	for i := range want {
		compare(t, got[i], want[i])
	}
}

func TestProxyInfoInTheJournal(t *testing.T) {
	j := journald.Start(t).Run()
	l := openTo(t, j, defaults)
	v := visit(7, service.Greeted)
	v.Proxy = netip.MustParseAddrPort("10.0.0.1:4000")
	v.ProxyInfo = &service.ProxyInfo{UniqueID: "x"}
	l.Closed(v)
	v.ProxyInfo = &service.ProxyInfo{
		Authority: "greet.example", ALPN: "h2", UniqueID: "id", SSLVersion: "TLSv1.3", SSLCommonName: "me",
		SSLVerified: true, AWSEndpointID: "vpce-1", AzureEndpointID: "2",
	}
	l.Closed(v)
	got := j.Wait(2)
	want := journald.Fields{
		"MESSAGE": "greeted 192.0.2.7:51234 via 10.0.0.1:4000 on greet, 25 bytes in 1.2 ms", "PRIORITY": "6",
		"SYSLOG_IDENTIFIER": "greetd", "MESSAGE_ID": VisitGreeted.ID(),
		"GREETD_VISIT": "7", "GREETD_LISTENER": "greet", "GREETD_REMOTE_ADDR": "192.0.2.7",
		"GREETD_REMOTE_PORT": "51234", "GREETD_PROXY_ADDR": "10.0.0.1", "GREETD_OUTCOME": "greeted", "GREETD_BYTES": "25",
		"GREETD_DURATION_USEC": "1234", "GREETD_PROXY_UNIQUE_ID": "x",
	}
	compare(t, got[0], want)
	for key, value := range map[string]string{
		"AUTHORITY": "greet.example", "ALPN": "h2", "UNIQUE_ID": "id", "SSL_VERSION": "TLSv1.3", "SSL_COMMON_NAME": "me",
		"SSL_VERIFIED": "true", "AWS_ENDPOINT_ID": "vpce-1", "AZURE_ENDPOINT_ID": "2",
	} {
		want["GREETD_PROXY_"+key] = value
	}
	compare(t, got[1], want)
}

func TestProxyInfoInJSON(t *testing.T) {
	v := visit(7, service.Greeted)
	v.ProxyInfo = &service.ProxyInfo{Authority: `a"\n\xff`, SSLVersion: "TLSv1.3"}
	e := newEntry(VisitGreeted, time.Now(), "")
	defer e.free()
	e.addVisit(v)
	line := string(jsonForm{}.append(nil, e, 1000))
	if want := `"proxy_authority":"a\"\\n\\xff","proxy_ssl_version":"TLSv1.3","proxy_ssl_verified":false,"outcome"`; !strings.Contains(line, want) {
		t.Errorf("%s; want %s", line, want)
	}
}

func compare(t *testing.T, got, want journald.Fields) {
	t.Helper()
	for name := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("%s = %q, want none", name, got[name])
		}
	}
	for name, value := range want {
		if got[name] != value {
			t.Errorf("%s = %q, want %q", name, got[name], value)
		}
	}
}

// TestStall stops the reader, logs far more than the queue holds, and starts it
// again: what is stored and what is reported as dropped make up what was logged.
func TestStall(t *testing.T) {
	j := journald.Start(t)
	o := defaults
	o.Rate = 0
	l := openTo(t, j, o)
	const writers, each = 4, 5000
	var running sync.WaitGroup
	for range writers {
		running.Go(func() {
			for i := range each {
				l.Closed(visit(uint64(i), service.Outcomes()[i%6]))
			}
		})
	}
	running.Wait() // not one of them waits for the journal
	if err := alive(t, l); err != nil {
		t.Errorf("while the journal is stopped: %v", err)
	}
	dropped := l.Dropped()
	if dropped == 0 || dropped > writers*each-journal.QueueSize {
		t.Errorf("%d entries dropped", dropped)
	}
	j.Run()
	got := j.Wait(writers*each - int(dropped) + 1)

	seen := map[string]uint64{}
	for _, e := range got {
		if e["MESSAGE_ID"] != EntriesDropped.ID() {
			seen[e["GREETD_OUTCOME"]]++
			continue
		}
		if n := e.Number(t, "GREETD_DROPPED"); n != dropped {
			t.Errorf("GREETD_DROPPED = %d, want %d", n, dropped)
		}
		for _, outcome := range service.Outcomes() {
			seen[string(outcome)] += e.Number(t, "GREETD_DROPPED_"+strings.ToUpper(string(outcome)))
		}
	}
	for i, outcome := range service.Outcomes() {
		want := uint64(0)
		for n := range each {
			if n%6 == i {
				want += writers
			}
		}
		if seen[string(outcome)] != want {
			t.Errorf("%s: %d accounted for, want %d", outcome, seen[string(outcome)], want)
		}
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if rest := j.All(); len(rest) != 0 {
		t.Errorf("one entry too many: %v", rest)
	}
}

func alive(t *testing.T, l *Log) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	return l.Alive(ctx)
}

// TestWarningsHaveRoom fills the queue with greetings; a failure still gets in.
func TestWarningsHaveRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := defaults
		o.Rate = 0
		l, c := toFaulty(t, o, time.Second, 0)
		c.fail(unix.ENOBUFS)
		l.Closed(visit(0, service.Greeted))
		synctest.Wait() // the writer has taken it, and waits
		for range 2 * journal.QueueSize {
			l.Closed(visit(1, service.Greeted))
		}
		before := l.Dropped()
		if before != journal.QueueSize {
			t.Errorf("%d greetings dropped, want %d", before, journal.QueueSize)
		}
		for range journal.Reserve {
			l.Closed(visit(2, service.Failed))
		}
		if got := l.Dropped() - before; got != 0 {
			t.Errorf("%d of %d warnings dropped", got, journal.Reserve)
		}
		l.Closed(visit(3, service.Failed))
		if got := l.Dropped() - before; got != 1 {
			t.Errorf("%d dropped beyond the reserve, want 1", got)
		}
		c.fail(nil)
	})
}

func TestCloseGivesUp(t *testing.T) {
	j := journald.Start(t)
	o := defaults
	o.Rate, o.Burst = 1, 2000
	l := openTo(t, j, o)
	const sent = 3000
	for i := range sent {
		l.Closed(visit(uint64(i), service.Greeted))
	}
	goroutines := runtime.NumGoroutine()
	begun := time.Now()
	err := l.Close()
	if took := time.Since(begun); took < flushTime || took > 20*flushTime {
		t.Errorf("Close took %s, want %s", took, flushTime)
	}
	if err == nil {
		t.Fatal("Close succeeded with a journal that takes nothing")
	}
	for runtime.NumGoroutine() >= goroutines {
		if time.Since(begun) > 20*time.Second {
			t.Fatalf("%d goroutines after Close, %d before", runtime.NumGoroutine(), goroutines)
		}
		runtime.Gosched()
	}
	// The rest is in the socket of the journal: the error says what is not.
	j.Run()
	inSocket := 0
	for range sent {
		select {
		case <-j.Arrived:
			inSocket++
		case <-time.After(100 * time.Millisecond):
		}
		if inSocket+lost(t, err) == sent {
			return
		}
	}
	t.Errorf("%d in the journal, %v: together not %d", inSocket, err, sent)
}

// lost returns the number of visits in an error of Close.
func lost(t *testing.T, err error) int {
	t.Helper()
	_, after, _ := strings.Cut(err.Error(), "; ")
	digits, _, ok := strings.Cut(after, " visits not logged")
	if !ok {
		t.Fatalf("no visits in %q", err)
	}
	n := 0
	for _, c := range digits {
		n = 10*n + int(c-'0')
	}
	return n
}

// TestJournalReplaced restarts the other end: the socket file is a new one.
func TestJournalReplaced(t *testing.T) {
	j := journald.Start(t).Run()
	l := openTo(t, j, defaults)
	l.Event(Started, "before")
	j.Wait(1)
	j.Stop()
	l.Event(Reloading, "while nobody listens")
	l.Event(Reloaded, "and one more")
	j.Listen()
	j.Run()
	l.Event(Ready, "after")
	for i, want := range []string{"while nobody listens", "and one more", "after"} {
		if got := j.Wait(1)[0]["MESSAGE"]; got != want {
			t.Errorf("entry %d = %q, want %q", i, got, want)
		}
	}
}

// TestApplyMovesEntries changes the output while the old one is stuck: the entries
// go to the new one, each once.
func TestApplyMovesEntries(t *testing.T) {
	stuck, lines := journald.Start(t), journald.Start(t)
	o := defaults
	o.Rate = 0
	l := openTo(t, stuck, o)
	l.flushTime = busy
	const sent = 1000
	for i := range sent {
		l.Closed(visit(uint64(i), service.Greeted))
	}
	for unread(t, stuck.Conn) == 0 {
		runtime.Gosched() // the first one is to go to the old output
	}
	o.Output = toSyslog
	l.env.syslogSocket = lines.Path
	if err := l.Apply(o); err != nil {
		t.Fatal(err)
	}
	arrived := make(chan int, 1)
	go func() { arrived <- countDatagrams(lines.Conn) }()
	if err := l.Close(); err != nil {
		t.Error(err) // it waits for the old output still
	}
	lines.Conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	stuck.Conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	before, after := countDatagrams(stuck.Conn), <-arrived
	if before+after != sent || before == 0 || after == 0 {
		t.Errorf("%d entries at the old output and %d at the new one, want some each and %d together", before, after, sent)
	}
}

// unread returns how many bytes can be read from conn now.
func unread(t *testing.T, conn syscall.Conn) int {
	t.Helper()
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	if e := raw.Control(func(fd uintptr) { n, err = unix.IoctlGetInt(int(fd), unix.TIOCINQ) }); e != nil || err != nil {
		t.Fatal(e, err)
	}
	return n
}

// descriptor returns the number of f's descriptor, which stays f's.
func descriptor(f *os.File) (fd int, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return -1, err
	}
	err = raw.Control(func(number uintptr) { fd = int(number) })
	return fd, err
}

// countDatagrams reads until the deadline.
func countDatagrams(conn *net.UnixConn) (n int) {
	for buf := make([]byte, 1<<16); ; n++ {
		if _, err := conn.Read(buf); err != nil {
			return n
		}
	}
}

// TestApplyKeepsTheJournal reloads while journald is away for a moment: auto does
// not fall back to stderr.
func TestApplyKeepsTheJournal(t *testing.T) {
	j := journald.Start(t)
	o := defaults
	o.Output = toAuto
	l := openTo(t, j, o)
	j.Stop()
	if err := l.Apply(o); err != nil {
		t.Fatal(err)
	}
	j.Listen()
	j.Run()
	l.Event(Reloaded, "here")
	if got := j.Wait(1)[0]["MESSAGE"]; got != "here" {
		t.Errorf("got %q", got)
	}
}

// TestApplyInTheMiddleOfALine changes the form while a line is half written: that
// line ends as it was begun, those that wait have the new form.
func TestApplyInTheMiddleOfALine(t *testing.T) {
	near, far, _ := socketPair(t)
	fd, err := descriptor(far)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 8<<10); err != nil {
		t.Fatal(err)
	}
	o := defaults
	o.Output = toStderr
	l, err := Open(o, os.Stdout, far)
	if err != nil {
		t.Fatal(err)
	}
	l.flushTime = busy
	const sent = 40
	long := strings.Repeat("x", 20_000)
	for range sent {
		l.Event(Ready, long)
	}
	for unread(t, near) == 0 { // once it has begun, the line has no room to end
		runtime.Gosched()
	}
	o.Format = "json"
	if err := l.Apply(o); err != nil {
		t.Fatal(err)
	}
	if err := alive(t, l); err != nil {
		t.Fatal(err)
	}
	text, objects := make(chan int, 1), make(chan int, 1)
	go func() {
		defer close(text)
		counts := [2]int{}
		scanner := bufio.NewScanner(near)
		scanner.Buffer(nil, 1<<20)
		for scanner.Scan() {
			switch {
			case strings.HasSuffix(scanner.Text(), " info "+long):
				counts[0]++
			case json.Valid(scanner.Bytes()):
				counts[1]++
			default:
				t.Errorf("a line of %d bytes is neither text nor JSON", len(scanner.Bytes()))
			}
		}
		text <- counts[0]
		objects <- counts[1]
	}()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	far.Close()
	before, after := <-text, <-objects
	if before != 1 || after != sent-1 {
		t.Errorf("%d lines of text and %d of JSON, want 1 and %d", before, after, sent-1)
	}
}

func TestApplyAllOrNothing(t *testing.T) {
	j := journald.Start(t).Run()
	l := openTo(t, j, defaults)
	if err := l.Apply(Options{Output: toStderr, Level: "loud", Visits: none}); err == nil || !strings.Contains(err.Error(), "log.level") {
		t.Errorf("Apply = %v, want an error that names log.level", err)
	}
	unreachable := defaults
	unreachable.Output, unreachable.Level, unreachable.Visits = toSyslog, "error", "none"
	l.env.syslogSocket = "/nonexistent/log"
	if err := l.Apply(unreachable); err == nil || !strings.Contains(err.Error(), "/nonexistent/log") {
		t.Errorf("Apply = %v, want an error that names the socket", err)
	}
	l.Closed(visit(1, service.Greeted))
	if got := j.Wait(1)[0]["GREETD_VISIT"]; got != "1" {
		t.Errorf("the old options don't apply any more: visit %q", got)
	}
	if got := l.Level(); got != "info" {
		t.Errorf("level = %s", got)
	}
}

func TestLevels(t *testing.T) {
	j := journald.Start(t).Run()
	l := openTo(t, j, defaults)
	if err := l.SetLevel("error"); err != nil {
		t.Fatal(err)
	}
	l.Closed(visit(1, service.Greeted))
	l.Closed(visit(2, service.Failed))
	l.Event(Detail, "nobody wants to know")
	if err := l.SetLevel("chatty"); err == nil {
		t.Error("SetLevel took a level that is none")
	}
	if err := l.Apply(defaults); err != nil {
		t.Fatal(err)
	}
	l.Closed(visit(3, service.Greeted))
	got := j.Wait(3)
	for i, want := range []Event{LevelChanged, VisitFailed, VisitGreeted} {
		if got[i]["MESSAGE_ID"] != want.ID() {
			t.Errorf("entry %d is %v, want %v", i, got[i], want)
		}
	}
	if got[0]["MESSAGE"] != "log level changed to error from info" {
		t.Errorf("message %q", got[0]["MESSAGE"])
	}
}

func TestProblemsOnly(t *testing.T) {
	j := journald.Start(t).Run()
	o := defaults
	o.Visits = "problems"
	l := openTo(t, j, o)
	for _, outcome := range service.Outcomes() {
		l.Closed(visit(1, outcome))
	}
	for _, e := range j.Wait(5) {
		if e["GREETD_OUTCOME"] == "greeted" {
			t.Error("a greeting was logged")
		}
	}
	o.Visits = "none"
	if err := l.Apply(o); err != nil {
		t.Fatal(err)
	}
	l.Closed(visit(1, service.Failed))
	l.Event(Stopped, "the end")
	if got := j.Wait(1)[0]["MESSAGE"]; got != "the end" {
		t.Errorf("got %q", got)
	}
}

func TestAcceptTrouble(t *testing.T) {
	j := journald.Start(t).Run()
	l := openTo(t, j, defaults)
	err := errors.New("too many open files")
	for range 12 {
		l.AcceptFailed("greet", err, 5*time.Millisecond)
	}
	l.AcceptFailed("other", nil, 0)
	l.AcceptFailed("greet", nil, 0)
	got := j.Wait(2)
	if got[0]["MESSAGE_ID"] != AcceptTroubled.ID() || got[1]["MESSAGE_ID"] != AcceptRecovered.ID() {
		t.Errorf("got %v", got)
	}
	if want := "cannot accept connections on greet: too many open files; retrying in 5.0 ms"; got[0]["MESSAGE"] != want {
		t.Errorf("message %q, want %q", got[0]["MESSAGE"], want)
	}
	if got[1]["GREETD_ATTEMPTS"] != "12" || got[1]["GREETD_LISTENER"] != "greet" {
		t.Errorf("got %v", got[1])
	}
}

// TestJSONOnStderr reads back what a program would.
func TestJSONOnStderr(t *testing.T) {
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	defer writer.Close()
	o := defaults
	o.Output, o.Format = "auto", "json"
	l, err := Open(o, os.Stdout, writer)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	v := visit(7, service.Failed)
	v.Err = errors.New("bad \xff\x1b[31m\nnews")
	l.Closed(v)
	line, err := bufio.NewReader(reader).ReadBytes('\n')
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(line, &got); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	for key, want := range map[string]any{
		"level": "error", "priority": 3.0, "message_id": VisitFailed.ID(), "visit": 7.0, "listener": "greet",
		"remote_addr": "192.0.2.7", "remote_port": 51234.0, "outcome": "failed", "bytes": 25.0,
		"duration_usec": 1234.0, "error": `bad \xff\x1b[31m\nnews`,
		"msg": `failed 192.0.2.7:51234 on greet, 25 bytes in 1.2 ms: bad \xff\x1b[31m\nnews`,
	} {
		if got[key] != want {
			t.Errorf("%s = %v, want %v", key, got[key], want)
		}
	}
	at, err := time.Parse("2006-01-02T15:04:05.000000Z07:00", got["time"].(string))
	if err != nil || time.Since(at) > time.Minute {
		t.Errorf("time = %v", got["time"])
	}
}

// TestStderrFull logs to a pipe that nobody reads, then reads it.
func TestStderrFull(t *testing.T) {
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	o := defaults
	o.Output, o.Rate = toStderr, 0
	l, err := Open(o, os.Stdout, writer)
	if err != nil {
		t.Fatal(err)
	}
	l.flushTime = busy
	const sent = 3 * journal.QueueSize
	for i := range sent {
		l.Closed(visit(uint64(i), service.Greeted))
	}
	if err := alive(t, l); err != nil {
		t.Error(err)
	}
	dropped := int(l.Dropped())
	lines := countLines(reader)
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	writer.Close()
	if got := <-lines; got+dropped != sent || dropped == 0 {
		t.Errorf("%d lines and %d dropped, together not %d", got, dropped, sent)
	}
}

// TestStderrGone logs to a pipe whose reader went away: neither does the process
// die of SIGPIPE, nor does Close wait for ever.
func TestStderrGone(t *testing.T) {
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	o := defaults
	o.Output = "stderr"
	l, err := Open(o, os.Stdout, writer)
	if err != nil {
		t.Fatal(err)
	}
	reader.Close()
	l.Event(Started, "hello")
	if err := l.Close(); err == nil {
		t.Error("Close = nil, with an entry that nobody got")
	}
}

// TestSyslog holds what arrives at a syslog daemon against what log/syslog sends.
func TestSyslog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	o := defaults
	o.Output = toSyslog
	l, err := open(o, testEnvironment(t, path))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	v := visit(1, service.HungUp)
	v.Err = errors.New("read: \n<0>fake")
	l.Closed(v)
	library, err := syslog.Dial("unixgram", path, syslog.LOG_DAEMON, identifier)
	if err != nil {
		t.Fatal(err)
	}
	defer library.Close()

	buf := make([]byte, 4096)
	var got [2]string
	for i := range got {
		n, err := conn.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		got[i] = stamp.ReplaceAllString(string(buf[:n]), "TIME")
		if i == 0 {
			library.Notice(`hung up 192.0.2.7:51234 on greet, 25 bytes in 1.2 ms: read: \n<0>fake`)
		}
	}
	if got[0] != got[1] {
		t.Errorf("%q, log/syslog sends %q", got[0], got[1])
	}
}

var stamp = regexp.MustCompile(`[A-Z][a-z][a-z] [ \d]\d \d\d:\d\d:\d\d`)

// TestStartsWithoutOutput opens a log whose output comes later.
func TestStartsWithoutOutput(t *testing.T) {
	j := journald.Start(t)
	j.Stop()
	os.Remove(j.Path)
	l := openTo(t, j, defaults)
	l.Event(Started, "hello")
	j.Listen()
	j.Run()
	if got := j.Wait(1)[0]["MESSAGE"]; got != "hello" {
		t.Errorf("got %q", got)
	}
}

// TestAccountsAcrossApply changes everything again and again while visits come in:
// entries, summaries and reported drops account for each of them, over all outputs.
func TestAccountsAcrossApply(t *testing.T) {
	j := journald.Start(t).Run()
	path := filepath.Join(t.TempDir(), "log")
	daemon, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	env := testEnvironment(t, j.Path)
	env.syslogSocket, env.stderr.journal = path, false
	o := defaults
	o.Format, o.Level = "json", "debug"
	before := descriptors(t)
	l, err := open(o, env)
	if err != nil {
		t.Fatal(err)
	}
	l.flushTime = busy

	account := make(map[string]uint64)
	read := make(chan error, 1)
	go func() { read <- accountSyslog(daemon, account) }()

	const writers, each = 3, 4000
	var running sync.WaitGroup
	for range writers {
		running.Go(func() {
			for i := range each {
				l.Closed(visit(uint64(i), service.Outcomes()[i%6]))
				if i%100 == 0 {
					logSteps(l, never)
					runtime.Gosched()
				}
			}
		})
	}
	changing := make(chan struct{})
	go func() {
		defer close(changing)
		for i := range 300 {
			o.Output = []string{toJournald, toSyslog, toStderr}[i%3]
			o.Rate = []int{0, 1000, 100_000, 5}[i%4]
			if err := l.Apply(o); err != nil {
				t.Error(err)
			}
		}
	}()
	running.Wait()
	<-changing
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if left := descriptors(t) - before; left != 0 {
		t.Errorf("%d descriptors more after Close than before Open", left)
	}
	daemon.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if err := <-read; err != nil {
		t.Error(err)
	}
	file, err := os.ReadFile(env.stderr.Name())
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(file) {
		if err := accountJSON(line, account); err != nil {
			t.Errorf("%q: %v", line, err)
		}
	}
	j.Drain()
	for _, e := range j.All() {
		for _, outcome := range service.Outcomes() {
			if e["GREETD_OUTCOME"] == string(outcome) {
				account[string(outcome)]++
			}
			capitals := strings.ToUpper(string(outcome))
			account[string(outcome)] += e.Number(t, "GREETD_SUPPRESSED_"+capitals) + e.Number(t, "GREETD_DROPPED_"+capitals)
		}
	}
	for i, outcome := range service.Outcomes() {
		want := uint64(writers * (each / 6))
		if i < each%6 {
			want += writers
		}
		if got := account[string(outcome)]; got != want {
			t.Errorf("%s: %d accounted for, want %d", outcome, got, want)
		}
	}
}

// descriptors counts those that the process has open.
func descriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func accountSyslog(daemon *net.UnixConn, account map[string]uint64) error {
	buf := make([]byte, 1<<16)
	for {
		n, err := daemon.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return err
		}
		_, object, _ := bytes.Cut(buf[:n], []byte("]: "))
		if err := accountJSON(object, account); err != nil {
			return err
		}
	}
}

// accountJSON adds the visits that an entry stands for.
func accountJSON(object []byte, account map[string]uint64) error {
	var e map[string]any
	if err := json.Unmarshal(object, &e); err != nil {
		return err
	}
	for _, outcome := range service.Outcomes() {
		if e["outcome"] == string(outcome) {
			account[string(outcome)]++
		}
		for _, prefix := range []string{"suppressed_", "dropped_"} {
			n, _ := e[prefix+string(outcome)].(float64)
			account[string(outcome)] += uint64(n)
		}
	}
	return nil
}
