package logging

import (
	"fmt"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
)

// troubles remembers which listeners can't accept.
type troubles struct {
	mu sync.Mutex
	by map[string]trouble // by listener
}

type trouble struct {
	since    time.Time
	attempts uint64
	err      error
}

// AcceptFailed implements [service.Observer]. However often it is called, an episode
// of trouble has two entries: one when it begins, and one when it is over, with how
// long it took and how many attempts failed.
func (l *Log) AcceptFailed(listener string, err error, retryIn time.Duration) {
	l.troubles.mu.Lock()
	defer l.troubles.mu.Unlock() // held while it is told, so that the two entries keep their order
	t, known := l.troubles.by[listener]
	if err == nil {
		if known {
			delete(l.troubles.by, listener)
			l.acceptRecovered(listener, t)
		}
		return
	}
	if !known {
		t.since = time.Now()
		l.log(AcceptTroubled,
			fmt.Sprintf("cannot accept on %s: %s; %s", listener, printable(err), whatNext(retryIn)),
			logrus.Fields{"listener": listener, "error": printable(err)})
	}
	t.attempts++
	t.err = err
	if l.troubles.by == nil {
		l.troubles.by = make(map[string]trouble)
	}
	l.troubles.by[listener] = t
}

// whatNext says what is done about an accept that failed.
func whatNext(retryIn time.Duration) string {
	if retryIn == 0 {
		return "clients that linger give way"
	}
	return "trying again, first in " + duration(retryIn)
}

func (l *Log) acceptRecovered(listener string, t trouble) {
	took := time.Since(t.since)
	l.log(AcceptRecovered,
		fmt.Sprintf("accepting on %s again after %s and %s",
			listener, duration(took), count(t.attempts, "failed attempt", "failed attempts")),
		logrus.Fields{
			"listener": listener, "attempts": t.attempts, "duration_usec": took.Microseconds(), "error": printable(t.err),
		})
}
