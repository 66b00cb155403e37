package logging

import (
	"errors"
	"net/netip"
	"sync"
	"time"
)

const (
	repeatTime  = 30 * time.Second // a source over its limit is logged again after this time, or at most twice this time
	mostRepeats = 8192             // maximum number of sources in each of current and previous
)

// limited is an error which says that a source is over its limit. A source is an address, or all addresses
// with the same prefix.
type limited interface {
	error
	LimitedSource() (source netip.Prefix, ok bool)
}

// repeats has the sources over their limits that were logged recently, so that their further attempts are
// only counted in a summary. Its memory is bounded: if there are too many sources, it removes the oldest
// ones, and these can be logged again. Its methods may be called concurrently. The zero value has no source.
type repeats struct {
	mu                sync.Mutex
	current, previous map[netip.Prefix]bool
	began             time.Time // when current was created
}

// again reports whether err says that a source is over its limit, and an entry for this source was logged
// recently. If none was, again adds the source.
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
		r.current, r.began = make(map[netip.Prefix]bool), now
	}
	if r.current[source] || r.previous[source] {
		return true
	}
	r.current[source] = true
	return false
}
