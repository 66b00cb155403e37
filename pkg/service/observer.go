package service

import "time"

// An Observer receives the events of a [Server]. [ObserverFuncs] makes an Observer from functions. The
// methods are called from many goroutines at once, during every visit: they must not block.
type Observer interface {
	// Opened is called when a connection was accepted. Exactly one call of Closed follows.
	Opened(Peer)

	// Closed is called when a visit has ended.
	Closed(Visit)

	// AcceptFailed is called each time that listener could not accept a connection because of err.
	// The server tries again after retryIn. When accepting works again, AcceptFailed is called with
	// a nil err.
	AcceptFailed(listener string, err error, retryIn time.Duration)
}

// ObserverFuncs is an Observer that calls these functions. Functions that are nil are not called.
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

// Observers is an Observer that calls each of its elements, in order. No element may be nil. The zero
// value calls nothing.
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
