package service

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// A Server greets on any number of listeners. The zero value works: it sends each client its own
// address. The exported fields are read by the first Serve and must not change from then on; until
// then they may, whatever other methods were called. Update changes those that [Settings] has too,
// also while the server serves. A Server must not be copied, and can't serve again after Shutdown
// or Close.
type Server struct {
	Greeter  Greeter  // makes the greetings; nil: "Hello there, ADDRESS!\n"
	Observer Observer // gets the events; nil: nobody does

	// Admit decides, after a PROXY header and before TLS, whether a client is served.
	// An error refuses it; with a method Reason() Reason it says why, else that is
	// ReasonDenied. leave, if not nil, is called once, when the connection is
	// closed for good. nil admits everybody. It is called from many goroutines at
	// once and must not block. It is called a second time for a client that it refuses, when
	// connections that their clients have just closed are counted out.
	Admit func(Peer) (leave func(), err error)

	// SpokeTLS, if not nil, is called for each client that was greeted in plain text and
	// sends the beginning of a TLS handshake: it can't read the greeting. It is
	// called while the connection lingers, and must not block.
	SpokeTLS func(Peer)

	// Trace, if not nil, is called when a visit begins, and returns what gets each of its steps; nil:
	// they are not reported. The steps of one visit come one at a time, in their order. Neither may
	// block.
	Trace func(Peer) func(Step)

	WriteTimeout     time.Duration // for a whole greeting, however it trickles; 0: 5 s
	HandshakeTimeout time.Duration // for a PROXY header and TLS together; 0: 3 s
	LingerTimeout    time.Duration // for the client to hang up after its greeting; 0: 1 s; negative: closed at once

	// MaxConns limits the connections at any one time, lingering ones included; 0: no
	// limit. When it is reached, the oldest lingering connection gives way to a new
	// one. Where none lingers, a client does that has not finished its PROXY header or TLS
	// after a sixth of HandshakeTimeout, the oldest of the address that has most of them; its
	// visit has timed out. Where there is none either, accepting stops and new ones wait in the
	// backlog.
	MaxConns int

	// OmitLocal leaves Local of Peer the zero value where it takes a system call to know it: with
	// Direct, on listeners that are bound to all addresses.
	OmitLocal bool

	start       sync.Once
	connections *connections
	loops       sync.WaitGroup // accept loops: they end before connections are waited for
	lastID      atomic.Uint64

	mu        sync.Mutex
	current   *Settings // nil until Serve or Update
	acceptors map[*acceptor]struct{}
	broken    error // why the reaper has failed, and with it every Serve
}

func (s *Server) init() {
	s.start.Do(func() {
		s.acceptors = make(map[*acceptor]struct{})
		s.connections = newConnections(s.checkTLS, s.breakDown)
	})
}

// checkTLS calls SpokeTLS if first is the beginning of a TLS handshake.
func (s *Server) checkTLS(c *connection, first []byte) {
	if beginsTLS(first) {
		s.SpokeTLS(c.peer)
	}
}

// settings returns the values of the fields of s.
func (s *Server) settings() Settings {
	return Settings{s.Greeter, s.Admit, s.WriteTimeout, s.HandshakeTimeout, s.LingerTimeout, s.MaxConns, s.OmitLocal}
}

// use makes settings those of the server, and named those of its listeners of that name. s.mu is held.
func (s *Server) use(settings Settings, named map[string]listenerSettings) {
	settings = settings.orDefaults()
	s.current = &settings
	limits := make(map[string]int)
	for a := range s.acceptors {
		own := a.rules.Load().listenerSettings
		if next, ok := named[a.name]; ok {
			own = next
		}
		a.rules.Store(&rules{settings, own})
		limits[a.name] = own.maxConns
	}
	s.connections.setLimits(settings.MaxConns, settings.grace(), limits) // last: a visit that waits for room begins with the new rules
}

// Update makes visits that begin from now on use settings. Each of the listeners gives its Unwrap
// and TLS to all listeners of its Name that are being served; their net.Listener does not count.
// Where two of them have one name, the last counts. Served listeners keep their Unwrap and TLS if
// their name is not among them, or if they have none.
//
// A visit uses one version from its start to its end. Connections that linger do so for
// LingerTimeout from now, at most. Update may be called from any goroutine. Called before Serve, it
// replaces the fields of s.
func (s *Server) Update(settings Settings, listeners ...Listener) {
	s.init()
	named := make(map[string]listenerSettings, len(listeners))
	for _, ln := range listeners {
		named[ln.Name] = ln.settings()
	}
	delete(named, "")

	s.mu.Lock()
	defer s.mu.Unlock()
	s.use(settings, named)
	s.connections.reaper.Shorten(max(s.current.LingerTimeout, 0))
}

// breakDown ends every Serve with err.
func (s *Server) breakDown(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = err
	for a := range s.acceptors {
		_ = a.listener.Close()
	}
}

// Serve accepts connections on ln and greets them until ln is closed or broken, or
// the server is shut down. It always closes ln. It returns ErrClosed after Shutdown
// or Close, and otherwise why it can't go on: an error that matches [net.ErrClosed]
// if somebody else closed ln. Visits that have begun go on after it has returned.
// Where lingering connections can't be waited for any more, every Serve ends with the reason.
func (s *Server) Serve(ln Listener) error {
	s.init()
	a, err := s.open(ln)
	if err != nil {
		_ = ln.Close()
		return err
	}
	defer s.loops.Done()
	defer s.forget(a)
	err = a.run()
	_ = ln.Close()
	a.heartbeat.end()
	a.trouble.end()
	if s.connections.isDraining() {
		return ErrClosed
	}
	return cmp.Or(s.breakdown(), err)
}

// breakdown is what breakDown was called with, or nil.
func (s *Server) breakdown() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.broken
}

// open makes an acceptor for ln. It returns ErrClosed if the server is closing.
func (s *Server) open(ln Listener) (*acceptor, error) {
	if _, ok := ln.Listener.(syscall.Conn); ok { // its connections will be sockets
		if err := s.connections.reaper.Start(); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.connections.isDraining():
		return nil, ErrClosed
	case s.broken != nil:
		return nil, s.broken
	}
	if s.current == nil {
		s.use(s.settings(), nil)
	}
	a := &acceptor{listener: ln.Listener, lastID: &s.lastID}
	a.name, a.connections, a.counters = ln.Name, s.connections, s.connections.countersOf(ln.Name)
	a.observer, a.trace, a.sniffTLS = s.Observer, s.Trace, s.SpokeTLS != nil
	a.rules.Store(&rules{*s.current, ln.settings()})
	s.connections.setLimitOf(a.counters, ln.MaxConns)
	a.trouble.report = func(err error, retryIn time.Duration) {
		if a.observer != nil {
			a.observer.AcceptFailed(a.name, err, retryIn)
		}
	}
	s.loops.Add(1)
	s.acceptors[a] = struct{}{}
	return a, nil
}

func (s *Server) forget(a *acceptor) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.acceptors, a)
}

// Shutdown closes the listeners, lets visits and lingering connections come to their
// end, and cuts those that are left when ctx ends. When it returns, nothing is
// running any more: no goroutine, no descriptor. It returns the cause of ctx's end
// if that cut anything, else nil.
func (s *Server) Shutdown(ctx context.Context) error {
	s.init()
	s.closeListeners()
	s.loops.Wait()

	s.connections.reaper.Hurry() // clients that have hung up are not waited for
	err := s.connections.drained(ctx)
	if err != nil {
		s.connections.cut()
	}
	s.connections.reaper.Close()
	s.connections.running.Wait()
	return err
}

// Close cuts every visit at once, and otherwise does what Shutdown does. A Shutdown that waits
// waits no longer.
func (s *Server) Close() error {
	s.init()
	s.closeListeners()
	s.connections.cut()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = s.Shutdown(ctx)
	return nil
}

// closeListeners makes the accept loops end.
func (s *Server) closeListeners() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.connections.isDraining() {
		return
	}
	s.connections.drain()
	for a := range s.acceptors {
		_ = a.listener.Close()
	}
}

// Alive proves that every accept loop works, and that lingering connections are looked after, for a
// watchdog. It interrupts each loop, which must then come round and accept again. It makes no
// connection, and concerns no client. A loop that rests on purpose, because MaxConns is reached or
// accepting has failed, is alive. So is one whose listener has no SetDeadline and can't be
// interrupted. The error names each listener whose loop did not move until ctx ended; ctx must have a
// deadline, or Alive may wait without end. A Serve that has returned is no matter for Alive.
func (s *Server) Alive(ctx context.Context) error {
	s.init()
	s.mu.Lock()
	acceptors := slices.Collect(maps.Keys(s.acceptors))
	s.mu.Unlock()

	dead := make([]error, len(acceptors)+1)
	var asking sync.WaitGroup
	for i, a := range acceptors {
		asking.Go(func() {
			if !a.heartbeat.beats(ctx, a.listener) {
				dead[i] = fmt.Errorf("listener %s: the accept loop does not move", a.name)
			}
		})
	}
	dead[len(acceptors)] = s.connections.reaper.Alive(ctx)
	asking.Wait()
	return errors.Join(dead...)
}
