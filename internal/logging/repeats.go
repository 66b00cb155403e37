package logging

import (
	"errors"
	"net/netip"
	"sync"
	"time"
)

const (
	repeatTime  = 30 * time.Second // a source over its limit is logged again after this time, or up to twice of it
	mostRepeats = 8192             // sources that are remembered for that, and as many older ones
)

// limited is an error that says a source is over its limit: an address, or all that
// share a prefix.
type limited interface {
	error
	LimitedSource() (source netip.Prefix, ok bool)
}

// repeats remembers which sources over their limits were logged lately, so that their
// further attempts are in a summary only. Its memory is bounded: when too many come,
// the oldest are forgotten, and may be logged again. All its methods may be
// called at once. The zero value remembers nobody.
type repeats struct {
	mu                sync.Mutex
	current, previous map[netip.Prefix]struct{}
	began             time.Time // when current did
}

// again reports whether err says of a source what was logged of it already.
func (r *repeats) again(err error) bool {
	l, ok := errors.AsType[limited](err)
	if !ok {
		return false
	}
	source, ok := l.LimitedSource()
	if !ok {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := time.Now(); r.current == nil || len(r.current) >= mostRepeats || now.Sub(r.began) >= repeatTime {
		r.previous = r.current
		if now.Sub(r.began) >= 2*repeatTime {
			r.previous = nil
		}
		r.current, r.began = make(map[netip.Prefix]struct{}), now
	}
	if _, logged := r.current[source]; logged {
		return true
	}
	if _, logged := r.previous[source]; logged {
		return true
	}
	r.current[source] = struct{}{}
	return false
}
