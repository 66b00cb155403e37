package logging

import (
	"errors"
	"fmt"
	"strings"
	"sync"
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

		// A burst, and what exceeds it.
		for i := range 50 {
			l.Closed(visit(uint64(i), service.Outcomes()[i%2]))
		}
		if got := len(c.take()); got != 20 {
			t.Errorf("%d of a burst logged, want 20", got)
		}

		// The traffic has stopped: the summary comes all the same, once.
		time.Sleep(time.Second)
		got := c.take()
		if len(got) != 1 {
			t.Fatalf("%d entries after a second, want the summary: %v", len(got), got)
		}
		compare(t, got[0], journald.Fields{
			"MESSAGE":  "suppressed log entries for 30 visits in 1.0 s: 15 greeted, 15 refused (15 denied)",
			"PRIORITY": "5", "SYSLOG_IDENTIFIER": "greetd", "MESSAGE_ID": VisitsSuppressed.ID(),
			"GREETD_SUPPRESSED": "30", "GREETD_SUPPRESSED_GREETED": "15", "GREETD_SUPPRESSED_REFUSED": "15", "GREETD_SUPPRESSED_REFUSED_DENIED": "15",
			"GREETD_SUPPRESSED_HUNG_UP": "0", "GREETD_SUPPRESSED_TIMED_OUT": "0", "GREETD_SUPPRESSED_CUT": "0",
			"GREETD_SUPPRESSED_FAILED": "0", "GREETD_DURATION_USEC": "1000000",
		})
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
		l.Closed(visit(1, service.Greeted)) // the bucket is empty again
		c.take()
		for range 9 {
			l.Closed(visit(1, service.Greeted))
		}
		v := visit(2, service.Failed)
		v.Err = &service.PanicError{Value: "no such host", Stack: []byte("goroutine 1:\nmain()\n")}
		l.Closed(v)
		time.Sleep(time.Second)
		got := c.take()
		if len(got) != 1 {
			t.Fatalf("got %v, want one summary", got)
		}
		e := got[0]
		want := journald.Fields{
			"PRIORITY": "3", "GREETD_ERROR": "panic: no such host", "GREETD_STACK": "goroutine 1:\nmain()",
			"MESSAGE": "suppressed log entries for 10 visits in 1.0 s: 9 greeted, 1 failed (1 system); last error: panic: no such host",
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
