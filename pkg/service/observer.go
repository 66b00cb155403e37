package service

import "time"

// An Observer gets what happens; [ObserverFuncs] is one made of functions. Its methods are called
// from many goroutines at once, on the path of every visit: they must not block.
type Observer interface {
	// Opened says that a connection was accepted. Exactly one Closed follows.
	Opened(Peer)

	// Closed says that a visit has ended.
	Closed(Visit)

	// AcceptFailed says that listener can't accept because of err, and that it is
	// tried again after retryIn. It is called for each failure. A nil err says that
	// accepting works again.
	AcceptFailed(listener string, err error, retryIn time.Duration)
}

// ObserverFuncs is an Observer of functions, each of which may be nil: nothing is called then.
type ObserverFuncs struct {
	OnOpened       func(Peer)
	OnClosed       func(Visit)
	OnAcceptFailed func(listener string, err error, retryIn time.Duration)
}

// Opened implements [Observer].
func (o ObserverFuncs) Opened(p Peer) {
	if o.OnOpened != nil {
		o.OnOpened(p)
	}
}

// Closed implements [Observer].
func (o ObserverFuncs) Closed(v Visit) {
	if o.OnClosed != nil {
		o.OnClosed(v)
	}
}

// AcceptFailed implements [Observer].
func (o ObserverFuncs) AcceptFailed(listener string, err error, retryIn time.Duration) {
	if o.OnAcceptFailed != nil {
		o.OnAcceptFailed(listener, err, retryIn)
	}
}

// Observers calls each of them, in order. The zero value calls none. None may be nil.
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
