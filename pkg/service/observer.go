package service

import "time"

// An Observer is told what happens. Its methods are called from many goroutines at
// once, on the path of every visit: they must not block.
type Observer interface {
	// Opened says that a connection was accepted. Exactly one Closed follows.
	Opened(Peer)

	// Closed says that a visit has ended.
	Closed(Visit)

	// AcceptFailed says that listener can't accept because of err, and that it is
	// tried again after retryIn. It is called for each failure. A nil err says that
	// the trouble is over.
	AcceptFailed(listener string, err error, retryIn time.Duration)
}

// Observers tells each of them, in order. The zero value tells nobody.
type Observers []Observer

// Opened implements [Observer].
func (o Observers) Opened(p Peer) {
	for _, observer := range o {
		observer.Opened(p)
	}
}

// Closed implements [Observer].
func (o Observers) Closed(v Visit) {
	for _, observer := range o {
		observer.Closed(v)
	}
}

// AcceptFailed implements [Observer].
func (o Observers) AcceptFailed(listener string, err error, retryIn time.Duration) {
	for _, observer := range o {
		observer.AcceptFailed(listener, err, retryIn)
	}
}
