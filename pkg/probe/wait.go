package probe

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// The pause between the tries of [Probe.Wait] doubles from the first to the last.
const (
	firstPause = 50 * time.Millisecond
	lastPause  = time.Second
)

// Wait probes target again and again until the status is OK, but at most for limit. It returns the
// last result, or the one before it if limit interrupted the last probe. Each try has the deadlines
// of p. try, if not nil, is called with the result of each try that failed.
func (p *Probe) Wait(ctx context.Context, target Target, limit time.Duration, try func(Result)) Result {
	if _, err := p.valid(ctx, target); err != nil {
		return invalid(target, err)
	}
	if limit <= 0 {
		return invalid(target, fmt.Errorf("the limit of Wait is %s; use a positive duration", limit))
	}
	waiting, cancel := context.WithTimeoutCause(ctx, limit, allowance{limit, " in all"})
	defer cancel()
	var last *Result
	for wait := firstPause; ; wait = min(2*wait, lastPause) {
		r := p.Do(waiting, target)
		switch {
		case r.Status == OK, r.Status == Canceled:
			return r
		case last != nil && waiting.Err() != nil:
			return *last
		}
		if try != nil {
			try(r)
		}
		last = &r
		pause(waiting, wait)
		if errors.Is(waiting.Err(), context.DeadlineExceeded) {
			return r
		}
	}
}
