package logging

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"greetd.example/internal/test/journald"
	"greetd.example/pkg/journal"
	"greetd.example/pkg/service"
)

// However often a listener fails, a failure has an entry when it begins and one when it is over. The next
// one has its own two, and so has that of another listener meanwhile.
func TestAcceptFailuresBeginAndEndOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, c := inMemory(t, defaults)
		failed := func(listener, text string) { l.AcceptFailed(listener, errors.New(text), 5*time.Millisecond) }
		failed("greet", "first")
		time.Sleep(2 * time.Second)
		failed("other", "else")
		failed("greet", "last")
		time.Sleep(time.Second)
		for range 3 {
			l.AcceptFailed("greet", nil, 0)
		}
		time.Sleep(time.Hour)
		failed("greet", "again")
		time.Sleep(time.Second)
		l.AcceptFailed("greet", nil, 0)
		l.AcceptFailed("other", nil, 0)
		l.AcceptFailed("other", errors.New("too many open files"), 0)

		got := c.take()
		want := []string{
			"cannot accept connections on greet: first; retrying in 5.0 ms",
			"cannot accept connections on other: else; retrying in 5.0 ms",
			"accepting connections on greet again after 3.0 s and 2 failed attempts",
			"cannot accept connections on greet: again; retrying in 5.0 ms",
			"accepting connections on greet again after 1.0 s and 1 failed attempt",
			"accepting connections on other again after 1h0m2s and 1 failed attempt",
			"cannot accept connections on other: too many open files; closing lingering connections",
		}
		if messages := messagesOf(got); !slices.Equal(messages, want) {
			t.Fatalf("got\n%s\nwant\n%s", strings.Join(messages, "\n"), strings.Join(want, "\n"))
		}
		if got[2]["GREETD_ERROR"] != "last" || got[2]["GREETD_DURATION_USEC"] != "3000000" || got[2]["GREETD_ATTEMPTS"] != "2" {
			t.Errorf("the end of the first failure is %v", got[2])
		}
	})
}

// A faultyTray fails while it has an error. Each attempt takes a while.
type faultyTray struct {
	*tray
	err           error
	only          string        // fail only entries with this in them; "": all
	fails, writes time.Duration // what an attempt that fails takes, and one that succeeds
}

func (c *faultyTray) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
}

func (c *faultyTray) Send(b []byte) (int, error) {
	c.mu.Lock()
	err := c.err
	c.mu.Unlock()
	if err != nil && bytes.Contains(b, []byte(c.only)) {
		time.Sleep(c.fails)
		return 0, err
	}
	time.Sleep(c.writes)
	return c.tray.Send(b)
}

// toFaulty opens a Log of o to a faultyTray.
func toFaulty(t *testing.T, o Options, fails, writes time.Duration) (*Log, *faultyTray) {
	t.Helper()
	l, c := inMemory(t, o)
	faulty := &faultyTray{tray: c, fails: fails, writes: writes}
	out := newOutput(toJournald, nativeForm{}, journalLimit)
	out.Conn = faulty
	l.out = out
	l.writer.Use(out)
	synctest.Wait()
	return l, faulty
}

// Each time that the output fails for longer than a second, stderr has a line when it begins, and the
// log an entry when it is over. A shorter failure has neither.
func TestOutputFailuresBeginAndEndOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, c := toFaulty(t, defaults, 400*time.Millisecond, 0)
		fails := func(err error, length time.Duration, message string) {
			c.fail(err)
			l.Event(Ready, message)
			time.Sleep(length)
			c.fail(nil)
			time.Sleep(time.Minute)
		}
		fails(unix.ENOBUFS, 3100*time.Millisecond, "one") // attempts fail at 0.4, 0.8 ... 3.2 s
		fails(unix.EPERM, 500*time.Millisecond, "short")
		fails(unix.ECONNREFUSED, 1900*time.Millisecond, "two")
		time.Sleep(time.Hour)

		want := []string{
			"one", "could not log to journald for 2.8 s: no buffer space available",
			"short",
			"two", "could not log to journald for 1.6 s: connection refused",
		}
		got := c.take()
		if messages := messagesOf(got); !slices.Equal(messages, want) {
			t.Errorf("got %q, want %q", messages, want)
		}
		begun := []string{
			"<3>cannot log to journald: no buffer space available; queueing up to 4096 entries, then dropping",
			"<3>cannot log to journald: connection refused; queueing up to 4096 entries, then dropping",
		}
		if lines := strings.Split(strings.TrimSpace(read(t, l.env.stderr.File)), "\n"); !slices.Equal(lines, begun) {
			t.Errorf("stderr has %q, want %q", lines, begun)
		}
		var remembered []string
		for _, p := range l.Problems() {
			remembered = append(remembered, p.Message)
		}
		if want := []string{want[4], want[1]}; !slices.Equal(remembered, want) {
			t.Errorf("Problems has %q, want %q", remembered, want)
		}
	})
}

// Where the log is stderr, a line there about stderr would fail the same way.
func TestOutputFailuresAreNotWrittenToThemselves(t *testing.T) {
	env := testEnvironment(t, "/nonexistent")
	env.warn(toStderr, "cannot log to stderr")
	if text := read(t, env.stderr.File); text != "" {
		t.Errorf("stderr has %q", text)
	}
}

// Drops are reported once, when there is room again, and the next ones anew.
func TestDropsAreReportedEachTimeOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := defaults
		o.Rate = 0
		l, c := toFaulty(t, o, 400*time.Millisecond, 0)
		for i, dropped := range []uint64{3, 1} {
			c.fail(unix.ENOBUFS)
			before := l.Dropped()
			l.Closed(visit(0, service.Greeted))
			synctest.Wait() // the writer has taken it, and waits
			for range journal.QueueSize + dropped {
				l.Closed(visit(1, service.Refused))
			}
			if got := l.Dropped() - before; got != dropped {
				t.Errorf("round %d: %d dropped, want %d", i, got, dropped)
			}
			c.fail(nil)
			time.Sleep(time.Hour)
			reports := slices.DeleteFunc(c.take(), func(e journald.Fields) bool {
				return e["MESSAGE_ID"] == VisitGreeted.ID() || e["MESSAGE_ID"] == VisitRefused.ID()
			})
			if len(reports) != 1 {
				t.Fatalf("round %d: %d reports: %q", i, len(reports), messagesOf(reports))
			}
			number := strconv.FormatUint(dropped, 10)
			for name, want := range map[string]string{"GREETD_DROPPED": number, "GREETD_DROPPED_REFUSED": number, "GREETD_DROPPED_REFUSED_DENIED": number, "GREETD_DROPPED_GREETED": "0"} {
				if reports[0][name] != want {
					t.Errorf("round %d: %s = %q, want %q", i, name, reports[0][name], want)
				}
			}
			if last := l.Problems(); len(last) != i+1 || last[0].Message != reports[0]["MESSAGE"] {
				t.Errorf("round %d: Problems is %v", i, last)
			}
		}
	})
}

// What was dropped just before Close is in the last entry, and where that can't be written either, in
// the error.
func TestCloseReportsDrops(t *testing.T) {
	for only, want := range map[string]string{
		"nothing has this": "",
		"dropped":          "close log: journald did not take 1 entry within 500.0 ms; 3 visits not logged",
	} {
		synctest.Test(t, func(t *testing.T) {
			o := defaults
			o.Rate = 0
			l, c := toFaulty(t, o, 100*time.Millisecond, 0)
			c.fail(unix.ENOBUFS)
			l.Closed(visit(0, service.Greeted))
			synctest.Wait() // the writer has taken it, and waits
			c.only = only
			for range journal.QueueSize + 3 {
				l.Closed(visit(1, service.Greeted))
			}
			err := l.Close()
			if want == "" && err != nil || want != "" && (err == nil || err.Error() != want) {
				t.Errorf("Close returned %v, want %q", err, want)
			}
			if err := l.Close(); err != nil {
				t.Errorf("a second Close: %v", err)
			}
			got := c.take()
			if last := got[len(got)-1]; want == "" && (last["GREETD_DROPPED"] != "3" || len(got) != journal.QueueSize+2) {
				t.Errorf("the last of %d entries is %v", len(got), last)
			}
		})
	}
}

// Each summary comes a second after the first visit in it, whatever the others wait for.
func TestSummariesComeInTime(t *testing.T) {
	leaveOut := map[string]func(*Log){
		"suppressed log entries for 1 visit in 1.0 s: 1 greeted; most from 192.0.2.7 (1)":            func(l *Log) { l.Closed(visit(1, service.Greeted)) },
		"suppressed log entries for 1 visit in 1.0 s: 1 refused (1 denied); most from 192.0.2.7 (1)": func(l *Log) { l.Closed(visit(1, service.Refused)) },
		"log.rate reached: did not log the steps of 1 visit":                                         func(l *Log) { logSteps(l, stepsOf(1)) },
	}
	all := slices.Sorted(maps.Keys(leaveOut))
	orders := [][]string{all[:1], all[1:2], all[2:]}
	for i := range 6 {
		orders = append(orders, []string{all[i%3], all[(i+1+i/3)%3], all[(i+2-i/3)%3]})
	}
	for _, order := range orders {
		synctest.Test(t, func(t *testing.T) {
			o := debugging()
			o.Rate, o.Burst = 1, 1
			l, c := inMemory(t, o)
			logSteps(l, stepsOf(1))
			l.Closed(visit(1, service.Refused))
			c.take() // the budgets are used up
			for _, message := range order {
				leaveOut[message](l)
				time.Sleep(300 * time.Millisecond)
			}
			time.Sleep(time.Second - time.Duration(len(order))*300*time.Millisecond)
			for _, message := range order {
				if got := messagesOf(c.take()); !slices.Equal(got, []string{message}) {
					t.Errorf("%q\ninstead of %q, of the order %q", got, message, order)
				}
				time.Sleep(300 * time.Millisecond)
			}
		})
	}
}

// While more is logged than the output accepts, drops are reported once a second.
func TestDropsUnderLoadAreReportedOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := defaults
		o.Rate = 0
		l, c := toFaulty(t, o, 0, time.Millisecond)
		for range 10_000 { // 10 s, the queue is full after four
			for range 2 {
				l.Closed(visit(1, service.Greeted))
			}
			time.Sleep(time.Millisecond)
		}
		dropped, reports, reported := l.Dropped(), 0, uint64(0)
		for _, e := range c.take() {
			if e["MESSAGE_ID"] == EntriesDropped.ID() {
				reports++
				reported += e.Number(t, "GREETD_DROPPED")
			}
		}
		if reports < 5 || reports > 6 || reported > dropped || dropped-reported > 1100 {
			t.Errorf("%d reports of %d drops in 6 s, of %d", reports, reported, dropped)
		}
		time.Sleep(time.Hour)
		for _, e := range c.take() {
			reported += e.Number(t, "GREETD_DROPPED")
		}
		if reported != l.Dropped() {
			t.Errorf("%d drops reported, of %d", reported, l.Dropped())
		}
	})
}

// A rateMeter checks a budget: burst entries at once, and perSecond more each second.
type rateMeter struct {
	perSecond, burst float64
	room             float64
	debt             float64 // what may be paid for later
	last             time.Time
}

// spend reports whether there was room for an entry at now.
func (m *rateMeter) spend(now time.Time) bool {
	m.room = min(m.burst, m.room+now.Sub(m.last).Seconds()*m.perSecond) - 1
	m.last = now
	return m.room > -m.debt-1e-6
}

// log.rate and log.burst hold for visits and their steps together, whatever comes, by how many
// goroutines at once, and however often the configuration is reloaded meanwhile. What is not logged is
// in summaries, and none of those is empty.
func TestRateIsNeverExceeded(t *testing.T) {
	for _, test := range []struct{ rate, burst int }{{10, 20}, {1, 7}, {100, 1000}, {50, 1}, {3, 2}} {
		t.Run(fmt.Sprintf("%d with a burst of %d", test.rate, test.burst), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { checkRate(t, test.rate, test.burst) })
		})
	}
}

func checkRate(t *testing.T, rate, burst int) {
	t.Helper()
	o := debugging()
	o.Rate, o.Burst = rate, burst
	l, c := inMemory(t, o)
	start := time.Now()
	// A visit has all its steps or none: where the burst is smaller, the rest is paid for later.
	greeted := &rateMeter{perSecond: float64(rate), burst: float64(burst), room: float64(burst), debt: float64(max(0, mostSteps-burst)), last: start}
	problems := &rateMeter{perSecond: float64(rate), burst: float64(burst), room: float64(burst), last: start}
	logged, summed, sent := 0, uint64(0), 0
	for range 20 * 60 { // a minute
		var visiting sync.WaitGroup
		for range 3 {
			sent += 2
			visiting.Go(func() {
				logSteps(l, stepsOf(1))
				l.Closed(visit(1, service.Greeted))
				l.Closed(visit(2, service.Failed))
			})
		}
		visiting.Wait()
		if err := l.Apply(o); err != nil {
			t.Fatal(err)
		}
		now := time.Now()
		for _, e := range c.take() {
			within := true
			switch e["MESSAGE_ID"] {
			case VisitStep.ID():
				within = greeted.spend(now)
			case VisitGreeted.ID():
				logged++
				within = greeted.spend(now)
			case VisitFailed.ID():
				logged++
				within = problems.spend(now)
			case VisitsSuppressed.ID():
				summed += e.Number(t, "GREETD_SUPPRESSED")
				if e.Number(t, "GREETD_SUPPRESSED") == 0 {
					t.Errorf("empty: %v", e)
				}
			default:
				if !strings.HasPrefix(e["MESSAGE"], "log.rate reached: did not log the steps of ") || strings.Contains(e["MESSAGE"], " of 0 ") {
					t.Errorf("got %v", e)
				}
			}
			if !within {
				t.Fatalf("%v exceeds the rate %s after the start", e["MESSAGE"], now.Sub(start))
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	time.Sleep(2 * time.Second)
	for _, e := range c.take() {
		summed += e.Number(t, "GREETD_SUPPRESSED")
	}
	if logged < 59*min(rate, 20) || logged+int(summed) != sent || l.Suppressed() != summed {
		t.Errorf("%d logged and %d in summaries, of %d; Suppressed returns %d", logged, summed, sent, l.Suppressed())
	}
	time.Sleep(time.Hour)
	if got := c.take(); len(got) > 0 {
		t.Errorf("afterwards there is %q", messagesOf(got))
	}
}

// A reload that does not change log.rate and log.burst grants no second burst; one that changes them does.
func TestReloadGrantsNoSecondBurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := defaults
		o.Rate, o.Burst = 1, 5
		l, c := inMemory(t, o)
		for i, test := range []struct{ rate, burst, want int }{{1, 5, 5}, {1, 5, 0}, {2, 5, 5}, {2, 5, 0}, {2, 6, 6}, {0, 6, 20}, {2, 6, 6}} {
			o.Rate, o.Burst = test.rate, test.burst
			if err := l.Apply(o); err != nil {
				t.Fatal(err)
			}
			for range 20 {
				l.Closed(visit(1, service.Greeted))
			}
			if got := len(c.take()); got != test.want {
				t.Errorf("reload %d: %d logged of a burst of 20, want %d", i, got, test.want)
			}
		}
	})
}

// fileStatus maps each descriptor of the process to the flags that the kernel tells of it.
func fileStatus(t *testing.T) map[string]string {
	t.Helper()
	all := make(map[string]string)
	list, err := os.ReadDir("/proc/self/fdinfo")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range list {
		text, err := os.ReadFile("/proc/self/fdinfo/" + fd.Name())
		if err != nil {
			continue // the one of the list itself
		}
		_, flags, _ := strings.Cut(string(text), "flags:\t")
		flags, _, _ = strings.Cut(flags, "\n")
		all[fd.Name()] = flags
	}
	return all
}

// However often the output changes, also to one that can't be reached, the log has one descriptor for
// it and one of its own, and no process that greetd starts inherits them.
func TestChangesOfOutputLeaveNoDescriptor(t *testing.T) {
	j := journald.Start(t).Run()
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	defer writer.Close()
	env := testEnvironment(t, j.Path)
	env.stdout.File = writer
	before := fileStatus(t)
	o := defaults
	l, err := open(o, env)
	if err != nil {
		t.Fatal(err)
	}
	for i, output := range slices.Repeat([]string{toJournald, toStdout, toSyslog, toStderr, toAuto, "nowhere", toStdout}, 5) {
		o.Output, env.syslogSocket = output, j.Path
		if output == "nowhere" {
			o.Output, env.syslogSocket = toSyslog, "/nonexistent/log"
		}
		if err := l.Apply(o); (err != nil) != (output == "nowhere") {
			t.Errorf("Apply to %s: %v", output, err)
		}
		for range 2 { // the first may be answered before the change
			if err := alive(t, l); err != nil {
				t.Fatal(err)
			}
		}
		var open []string
		for fd, flags := range fileStatus(t) {
			if _, known := before[fd]; known {
				continue
			}
			open = append(open, fd)
			if n, err := strconv.ParseInt(flags, 8, 64); err != nil || n&unix.O_CLOEXEC == 0 {
				t.Errorf("descriptor %s of the output %s has the flags %s: a child process inherits it", fd, output, flags)
			}
		}
		if len(open) > 2 {
			t.Fatalf("after change %d, to %s, the log has the descriptors %q", i, output, open)
		}
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	for fd := range fileStatus(t) {
		if _, known := before[fd]; !known {
			t.Errorf("descriptor %s is left after Close", fd)
		}
	}
}
