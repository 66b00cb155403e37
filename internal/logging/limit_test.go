package logging

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"greetd.example/internal/test/journald"
	"greetd.example/pkg/service"
)

// A tray is a journal.Conn that keeps what it is sent, in memory.
type tray struct {
	mu      sync.Mutex
	entries []journald.Fields
	room    int // bytes that it takes at once; 0: any number
}

func (c *tray) Send(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.room > 0 && len(b) > c.room {
		return 0, unix.EMSGSIZE
	}
	e, err := journald.Parse(b)
	if err != nil {
		return 0, err
	}
	c.entries = append(c.entries, e)
	return len(b), nil
}

func (c *tray) FD() int      { return -1 }
func (c *tray) Close() error { return nil }

// take returns what was sent since the last call, after everybody has done what
// there was to do.
func (c *tray) take() []journald.Fields {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	taken := c.entries
	c.entries = nil
	return taken
}

// inMemory opens a Log of o to a tray.
func inMemory(t *testing.T, o Options) (*Log, *tray) {
	t.Helper()
	l, err := open(o, testEnvironment(t, "/nonexistent"))
	if err != nil {
		t.Fatal(err)
	}
	c := &tray{}
	l.out = newOutput(toJournald, nativeForm{}, journalLimit)
	l.out.Conn = c
	l.writer.Use(l.out)
	t.Cleanup(func() { l.Close() })
	synctest.Wait()
	return l, c
}

func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := defaults
		o.Rate, o.Burst = 10, 20
		l, c := inMemory(t, o)

		// A burst, and what exceeds it: those that were greeted, and the others, by themselves.
		for i := range 50 {
			v := visit(uint64(i), service.Outcomes()[i%2])
			v.Remote = netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i % 4)}), 1)
			l.Closed(v)
		}
		if got := len(c.take()); got != 40 {
			t.Errorf("%d of a burst logged, want 20 of each", got)
		}

		// The traffic has stopped: the summaries come all the same, once.
		time.Sleep(time.Second)
		got := c.take()
		if len(got) != 2 {
			t.Fatalf("%d entries after a second, want a summary for each budget: %v", len(got), got)
		}
		compare(t, got[1], journald.Fields{
			"MESSAGE":  "suppressed log entries for 5 visits in 1.0 s: 5 refused (5 denied); most from 192.0.2.1 (3), 192.0.2.3 (2)",
			"PRIORITY": "5", "SYSLOG_IDENTIFIER": "greetd", "MESSAGE_ID": VisitsSuppressed.ID(), "GREETD_BUDGET": "problems",
			"GREETD_SUPPRESSED": "5", "GREETD_SUPPRESSED_GREETED": "0", "GREETD_SUPPRESSED_REFUSED": "5", "GREETD_SUPPRESSED_REFUSED_DENIED": "5",
			"GREETD_SUPPRESSED_HUNG_UP": "0", "GREETD_SUPPRESSED_TIMED_OUT": "0", "GREETD_SUPPRESSED_CUT": "0",
			"GREETD_SUPPRESSED_FAILED": "0", "GREETD_DURATION_USEC": "1000000", "GREETD_TOP_SOURCES": "192.0.2.1=3 192.0.2.3=2",
		})
		if got[0]["GREETD_BUDGET"] != "greeted" || got[0]["GREETD_SUPPRESSED_GREETED"] != "5" || got[0]["GREETD_SUPPRESSED"] != "5" {
			t.Errorf("the summary of greeted visits is %v", got[0])
		}
		time.Sleep(time.Hour)
		if got := c.take(); len(got) != 0 {
			t.Errorf("%v out of calm", got)
		}

		// 100 a second for 10 seconds: 20 at once, then 10 a second, a summary each second.
		var visits, summaries, summed uint64
		for i := range 1000 {
			l.Closed(visit(uint64(i), service.Greeted))
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(2 * time.Second)
		for _, e := range c.take() {
			if e["MESSAGE_ID"] == VisitsSuppressed.ID() {
				summaries++
				summed += e.Number(t, "GREETD_SUPPRESSED")
			} else {
				visits++
			}
		}
		if visits < 118 || visits > 120 || visits+summed != 1000 {
			t.Errorf("%d visits, %d summed up, want 120 and the rest of 1000", visits, summed)
		}
		if summaries < 9 || summaries > 11 {
			t.Errorf("%d summaries in 10 s", summaries)
		}
	})
}

// TestFailureShowsInSummary hides a failure behind many greetings: it makes the summary an
// error, and its text is there.
func TestFailureShowsInSummary(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := defaults
		o.Rate, o.Burst = 1, 1
		l, c := inMemory(t, o)
		for range 10 {
			l.Closed(visit(1, service.Greeted))
		}
		time.Sleep(time.Second)
		c.take()
		for range 10 { // the first is logged
			l.Closed(visit(1, service.HungUp))
		}
		v := visit(2, service.Failed)
		v.Err = &service.PanicError{Value: "no such host", Stack: []byte("goroutine 1:\nmain()\n")}
		l.Closed(v)
		time.Sleep(time.Second)
		got := c.take()
		if len(got) != 2 {
			t.Fatalf("got %v, want a visit and its summary", got)
		}
		e := got[1]
		want := journald.Fields{
			"PRIORITY": "3", "GREETD_ERROR": "panic: no such host", "GREETD_STACK": "goroutine 1:\nmain()",
			"MESSAGE": "suppressed log entries for 10 visits in 1.0 s: 9 hung_up (9 client_left), 1 failed (1 system); most from 192.0.2.7 (10); last error: panic: no such host",
		}
		for name, want := range want {
			if e[name] != want {
				t.Errorf("%s = %q, want %q", name, e[name], want)
			}
		}
	})
}

// TestCloseSumsUp ends the log in the middle of a second, once right after the
// limit was lifted.
func TestCloseSumsUp(t *testing.T) {
	for _, lift := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			o := defaults
			o.Rate, o.Burst = 1, 3
			l, c := inMemory(t, o)
			for range 10 {
				l.Closed(visit(1, service.Greeted))
			}
			sent := 10
			if lift {
				o.Rate = 0
				l.use(o, logrus.InfoLevel)
				l.Closed(visit(1, service.Greeted))
				sent++
			}
			if err := l.Close(); err != nil {
				t.Error(err)
			}
			got := c.take()
			visits := uint64(len(got) - 1)
			if sum := got[len(got)-1].Number(t, "GREETD_SUPPRESSED"); visits+sum != uint64(sent) {
				t.Errorf("%d entries and %d summed up, together not %d", visits, sum, sent)
			}
			l.Closed(visit(1, service.Greeted))
			if l.Dropped() != 1 {
				t.Errorf("%d dropped after Close, want 1", l.Dropped())
			}
		})
	}
}

// TestTooBig logs what the output does not take whole: it is cut, and if that does
// not help, dropped.
func TestTooBig(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, c := inMemory(t, defaults)
		c.room = 1000
		l.Event(Ready, strings.Repeat("x", 2000))
		if got := c.take(); len(got) != 1 || !strings.HasSuffix(got[0]["MESSAGE"], "xxx…") {
			t.Errorf("got %v, want a cut message", got)
		}
		var many []Field
		for i := range 100 {
			many = append(many, F(fmt.Sprint("key_", i), "value"))
		}
		l.Event(Ready, "too many", many...)
		got := c.take()
		if len(got) != 1 || got[0]["GREETD_DROPPED"] != "1" {
			t.Errorf("got %v, want one dropped entry", got)
		}
	})
}

func TestFilteredCostsNothing(t *testing.T) {
	o := defaults
	o.Rate, o.Burst = 1, 1
	l, err := open(o, testEnvironment(t, "/nonexistent"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	v := visit(1, service.Failed)
	v.Err = errors.New("some error")
	l.Closed(v)
	if n := testing.AllocsPerRun(100, func() { l.Closed(v) }); n != 0 {
		t.Errorf("a suppressed visit allocates %v times", n)
	}
	l.SetLevel("fatal")
	if n := testing.AllocsPerRun(100, func() { l.Closed(v); l.Event(Detail, "x") }); n != 0 {
		t.Errorf("a filtered visit allocates %v times", n)
	}
}

// A sink is a journal.Conn that counts what it is sent.
type sink struct{ n atomic.Uint64 }

func (c *sink) Send(b []byte) (int, error) {
	c.n.Add(1)
	return len(b), nil
}

func (c *sink) FD() int      { return -1 }
func (c *sink) Close() error { return nil }

// An entry that was written is used again: a visit that is logged costs no memory.
func TestLoggedVisitsReuseTheirMemory(t *testing.T) {
	o := defaults
	o.Rate = 0
	l, err := open(o, testEnvironment(t, "/nonexistent"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := &sink{}
	l.out = newOutput(toJournald, nativeForm{}, journalLimit)
	l.out.Conn = c
	l.writer.Use(l.out)
	v := visit(1, service.Greeted)
	log := func() {
		before := c.n.Load()
		l.Closed(v)
		for c.n.Load() == before {
			runtime.Gosched()
		}
	}
	for range 100 {
		log()
	}
	if n := testing.AllocsPerRun(1000, log); n > 2 { // the race detector loses some
		t.Errorf("a logged visit allocates %v times", n)
	}
}

// A rare long entry, such as one with a stack, is not kept: thousands that wait could each have grown so.
func TestLongEntriesAreNotKept(t *testing.T) {
	for range 100 {
		e := newEntry(Ready, time.Now(), "message")
		if cap(e.text) > 8<<10 {
			t.Fatalf("an entry begins with room for %d bytes", cap(e.text))
		}
		e.addText("stack", strings.Repeat("x", 64<<10))
		e.free()
	}
}

// A flood of greetings hides no problem.
func TestProblemsHaveABudgetOfTheirOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := defaults
		o.Rate, o.Burst = 10, 20
		l, c := inMemory(t, o)
		for i := range uint64(10_000) {
			l.Closed(visit(i, service.Greeted))
			if i%1000 == 0 {
				l.Closed(visit(i, service.Refused))
			}
		}
		refused := 0
		for _, e := range c.take() {
			if e["GREETD_OUTCOME"] == "refused" {
				refused++
			}
		}
		if refused != 10 {
			t.Errorf("%d of 10 refusals are logged", refused)
		}
	})
}

func TestSkippedClientsAreNotLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := defaults
		o.Skip = []netip.Prefix{netip.MustParsePrefix("192.0.2.7/32"), netip.MustParsePrefix("2001:db8::/64")}
		l, c := inMemory(t, o)
		for address, logged := range map[string]int{"192.0.2.7": 0, "::ffff:192.0.2.7": 0, "192.0.2.8": 1, "2001:db8::9": 0, "2001:db8:0:1::": 1} {
			for _, outcome := range []service.Outcome{service.Greeted, service.HungUp} {
				v := visit(1, outcome)
				v.Remote = netip.AddrPortFrom(netip.MustParseAddr(address), 1)
				l.Closed(v)
				if got := len(c.take()); got != logged {
					t.Errorf("%s, %s: %d entries, want %d", address, outcome, got, logged)
				}
			}
		}
		l.Closed(service.Visit{Outcome: service.Greeted})
		if len(c.take()) != 1 {
			t.Error("a client of a unix socket is not logged")
		}
	})
}

// However many sources come, those with many visits are named, the greatest first.
func TestTopSources(t *testing.T) {
	var top topSources
	for i := range uint32(100_000) {
		top.add(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}))
		top.add(netip.MustParseAddr("2001:db8::1").Next())
		if i%2 == 0 {
			top.add(netip.MustParseAddr("::ffff:192.0.2.7"))
		}
	}
	most := top.most()
	if len(most) != namedSources || most[0].source.String() != "2001:db8::/64" || most[0].visits < 100_000 ||
		most[1].source.String() != "192.0.2.7/32" || most[1].visits < 50_000 {
		t.Errorf("%v", most)
	}
	if n := testing.AllocsPerRun(100, func() { top.add(netip.MustParseAddr("192.0.2.9")) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
