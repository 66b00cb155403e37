package service

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// An ownDial is a connection that Alive makes to one of our listeners.
type ownDial struct {
	from     string        // its local address, known before it connects
	accepted chan struct{} // closed when the accept loop has accepted it
	began    time.Time
	ended    time.Time // when Alive stopped waiting for it; zero: it has not
}

// ownDials are those that may still be in the backlog of a listener. One that Alive has
// given up is among them: the loop accepts it when it comes to it, perhaps much later.
type ownDials struct {
	some atomic.Bool // so that the loop need not look
	mu   sync.Mutex
	all  []*ownDial
}

// add must come before the connection does.
func (o *ownDials) add(from string) *ownDial {
	own := &ownDial{from: from, accepted: make(chan struct{}), began: time.Now()}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.all = append(o.all, own)
	o.some.Store(true)
	return own
}

// giveUp says that nobody waits for own any more, whether it is connected or not. nil is
// none.
func (o *ownDials) giveUp(own *ownDial) {
	if own == nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	own.ended = time.Now()
}

// remove reports whether a connection from there is one of them, and removes it. With it go
// those that had been given up before it began: the backlog is a queue, so they were
// never in it.
func (o *ownDials) remove(from string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	i := slices.IndexFunc(o.all, func(own *ownDial) bool { return own.from == from })
	if i < 0 {
		return false
	}
	own := o.all[i]
	close(own.accepted)
	o.all = slices.DeleteFunc(o.all, func(other *ownDial) bool {
		return other == own || !other.ended.IsZero() && other.ended.Before(own.began)
	})
	o.some.Store(len(o.all) > 0)
	return true
}
