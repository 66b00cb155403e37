package logging

import (
	"fmt"
	"sync"
	"time"

	"greetd.example/internal/words"
)

// acceptFailures has the listeners that can't accept at present.
type acceptFailures struct {
	mu sync.Mutex
	by map[string]acceptFailure // by listener
}

type acceptFailure struct {
	since    time.Time
	attempts uint64
	err      error
}

// AcceptFailed implements [service.Observer]. It logs two entries for a failure, even if it is called many
// times: one when the failure begins, and one when it is over, with its duration and the number of failed
// attempts.
func (l *Log) AcceptFailed(listener string, err error, retryIn time.Duration) {
	l.acceptFailures.mu.Lock()
	defer l.acceptFailures.mu.Unlock() // after the call of Event, so that the two entries keep their order
	f, known := l.acceptFailures.by[listener]
	switch {
	case err != nil && !known:
		next := "closing lingering connections"
		if retryIn > 0 {
			next = "retrying in " + duration(retryIn)
		}
		f.since = time.Now()
		l.Event(AcceptTroubled,
			fmt.Sprintf("cannot accept connections on %s: %s; %s", listener, printable(err), next),
			F("listener", listener), F("error", printable(err)))
	case err == nil && known:
		delete(l.acceptFailures.by, listener)
		took := time.Since(f.since)
		l.Event(AcceptRecovered,
			fmt.Sprintf("accepting connections on %s again after %s and %s",
				listener, duration(took), words.Count(f.attempts, "failed attempt")),
			F("listener", listener), F("attempts", f.attempts), F("duration_usec", took.Microseconds()), F("error", printable(f.err)))
	}
	if err == nil {
		return
	}
	f.attempts++
	f.err = err
	if l.acceptFailures.by == nil {
		l.acceptFailures.by = make(map[string]acceptFailure)
	}
	l.acceptFailures.by[listener] = f
}
