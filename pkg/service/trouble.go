package service

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	firstPause  = 5 * time.Millisecond // after the first failed accept; doubles up to
	lastPause   = time.Second
	troubleOver = time.Second // the trouble ends after this time without a failure
)

// trouble is a period in which accepting fails. It ends when no accept has failed for troubleOver.
// Without this delay, a server at its limit would report each descriptor that becomes free.
type trouble struct {
	report func(err error, retryIn time.Duration) // with nil when it is over

	why   atomic.Pointer[error] // nil when there is no trouble
	mu    sync.Mutex            // orders the reports
	delay time.Duration
	timer *time.Timer // runs from the first success on
}

func (t *trouble) present() error {
	if why := t.why.Load(); why != nil {
		return *why
	}
	return nil
}

// failed reports a failure, and returns how long to pause before accepting is tried again: not at all if
// hasRoom.
func (t *trouble) failed(err error, hasRoom bool) (pause time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !hasRoom {
		t.delay = min(max(2*t.delay, firstPause), lastPause)
		pause = t.delay
	}
	t.why.Store(&err)
	t.stopTimer()
	t.report(err, pause)
	return pause
}

// succeeded makes the trouble end after troubleOver, if there is any.
func (t *trouble) succeeded() {
	if t.why.Load() == nil { // and there is no delay, then
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.delay = 0
	if t.why.Load() != nil && t.timer == nil {
		t.timer = time.AfterFunc(troubleOver, t.end)
	}
}

// end reports that the trouble is over, if there was any.
func (t *trouble) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.why.Swap(nil) == nil {
		return
	}
	t.stopTimer()
	t.report(nil, 0)
}

func (t *trouble) stopTimer() {
	if t.timer != nil {
		t.timer.Stop()
		t.timer = nil
	}
}
