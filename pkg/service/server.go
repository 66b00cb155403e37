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

// A Server greets clients on any number of listeners. The zero value works: it sends each client its
// own address. The first call of Serve reads the exported fields; do not change them after that. To
// change settings while the server runs, use Update: it replaces the fields that [Settings] also
// has. Do not copy a Server. It cannot serve again after Shutdown or Close.
type Server struct {
	Greeter  Greeter  // makes the greetings; nil: "Hello there, ADDRESS!\n"
	Observer Observer // receives the events; nil: no observer

	// Admit, if not nil, decides after the PROXY header and before TLS whether a client is served.
	// If it returns an error, the client is refused. If the error has a method Reason() Reason, the
	// visit has this reason, else ReasonDenied. leave, if not nil, is called once, when the
	// connection is closed. Admit is called from many goroutines at once, and must not block. If it
	// refuses a client, the server first finishes the connections that their clients have already
	// closed, and then calls Admit a second time.
	Admit func(Peer) (leave func(), err error)

	// SpokeTLS, if not nil, is called for each client that was greeted in plain text, but sends the
	// beginning of a TLS handshake: such a client cannot read the greeting. SpokeTLS is called
	// while the connection lingers, and must not block.
	SpokeTLS func(Peer)

	// Trace, if not nil, is called when a visit begins. It returns a function that receives each
	// step of this visit, one at a time and in order, or nil if the steps are not wanted. Trace and
	// the function must not block.
	Trace func(Peer) func(Step)

	WriteTimeout     time.Duration // for sending the whole greeting, however slowly the client reads; 0: 5 s
	HandshakeTimeout time.Duration // for a PROXY header and TLS together; 0: 3 s
	LingerTimeout    time.Duration // for the client to hang up after the greeting; 0: 1 s; negative: close at once

	// MaxConns limits the number of connections, including lingering ones; 0: no limit. When the
	// limit is reached, the server makes room for a new connection in this order. First it closes
	// the oldest lingering connection. If there is none, it closes a connection whose PROXY header
	// or TLS handshake is not complete after a sixth of HandshakeTimeout: the oldest one of the
	// address that has the most of them. That visit ends as TimedOut. If there is none either, the
	// server stops accepting, and new clients wait in the backlog.
	MaxConns int

	// OmitLocal leaves Local of Peer at the zero value if a system call would be needed to find it
	// out. This is the case with Direct on listeners that are bound to all addresses.
	OmitLocal bool

	start       sync.Once
	connections *connections
	loops       sync.WaitGroup // accept loops; Shutdown waits for them before it waits for connections
	lastID      atomic.Uint64

	mu        sync.Mutex
	current   *Settings // nil until Serve or Update
	acceptors map[*acceptor]struct{}
	broken    error // the error with which the reaper failed; it ends every Serve
}

func (s *Server) init() {
	s.start.Do(func() {
		s.acceptors = make(map[*acceptor]struct{})
		s.connections = newConnections(s.checkTLS, s.breakDown)
	})
}

func (s *Server) checkTLS(c *connection, first []byte) {
	if beginsTLS(first) {
		s.SpokeTLS(c.peer)
	}
}

func (s *Server) settings() Settings {
	return Settings{s.Greeter, s.Admit, s.WriteTimeout, s.HandshakeTimeout, s.LingerTimeout, s.MaxConns, s.OmitLocal}
}

// use applies settings to the server, and named, by their names, to its listeners. s.mu is held.
func (s *Server) use(settings Settings, named map[string]Listener) {
	settings = settings.orDefaults()
	s.current = &settings
	limits := make(map[string]int)
	for a := range s.acceptors {
		own := a.rules.Load().listener
		if next, ok := named[a.name]; ok {
			own = next
		}
		a.rules.Store(&rules{settings, own})
		limits[a.name] = own.MaxConns
	}
	s.connections.setLimits(settings.MaxConns, settings.grace(), limits) // last: a visit that waits for room begins with the new rules
}

// Update replaces the settings for all visits that begin from now on. Unwrap, TLS and MaxConns of each
// of the listeners replace those of all served listeners with the same Name; the net.Listener in it is
// not used. If two of the listeners have the same Name, the last one applies. Served listeners whose
// name is not in the list, and those without a name, keep their settings.
//
// Each visit uses either the old or the new settings, from its start to its end. Connections that
// linger now are closed after the new LingerTimeout at the latest. Update may be called from any
// goroutine. If it is called before Serve, it replaces the fields of s.
func (s *Server) Update(settings Settings, listeners ...Listener) {
	s.init()
	named := make(map[string]Listener, len(listeners))
	for _, ln := range listeners {
		named[ln.Name] = ln
	}
	delete(named, "")

	s.mu.Lock()
	defer s.mu.Unlock()
	s.use(settings, named)
	s.connections.reaper.Shorten(max(s.current.LingerTimeout, 0))
}

func (s *Server) breakDown(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = err
	for a := range s.acceptors {
		_ = a.listener.Close()
	}
}

// Serve accepts connections on ln, and greets each client, until ln is closed or broken, or the server
// is shut down. It always closes ln. After Shutdown or Close it returns ErrClosed, and otherwise the
// error that ended it; this error matches [net.ErrClosed] if ln was closed by other code. Visits in
// progress continue after Serve has returned. If the server can no longer wait for lingering
// connections, every Serve returns the reason.
func (s *Server) Serve(ln Listener) error {
	s.init()
	a, err := s.open(ln)
	if err != nil {
		_ = ln.Close()
		return err
	}
	defer s.loops.Done()
	err = a.run()
	_ = ln.Close()
	a.heartbeat.end()
	a.trouble.end()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.acceptors, a)
	if s.connections.isDraining() {
		return ErrClosed
	}
	return cmp.Or(s.broken, err)
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
	a := &acceptor{listener: ln.Listener, lastID: &s.lastID, workers: newWorkers(), heartbeat: heartbeat{answered: make(chan struct{})}}
	a.name, a.connections, a.counters = ln.Name, s.connections, s.connections.countersOf(ln.Name, ln.MaxConns)
	a.observer, a.trace, a.sniffTLS = cmp.Or[Observer](s.Observer, Observers{}), s.Trace, s.SpokeTLS != nil
	a.rules.Store(&rules{*s.current, ln})
	a.trouble.report = func(err error, retryIn time.Duration) {
		a.observer.AcceptFailed(a.name, err, retryIn)
	}
	s.loops.Add(1)
	s.acceptors[a] = struct{}{}
	return a, nil
}

// Shutdown closes the listeners, and waits for visits and lingering connections to end. When ctx ends,
// it cuts those that are left. When Shutdown returns, the server has no goroutine and no descriptor
// left. It returns the cause of the end of ctx if visits or connections were cut, else nil.
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

// Close cuts every visit at once, and otherwise does the same as Shutdown. A call of Shutdown that is
// waiting returns.
func (s *Server) Close() error {
	s.init()
	s.closeListeners()
	s.connections.cut()
	_ = s.Shutdown(context.Background())
	return nil
}

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

// Alive checks, for a watchdog, that every accept loop works, and that lingering connections are
// handled. It interrupts each loop, which must answer and then accept again. It makes no connection,
// and does not affect clients. A loop that pauses on purpose, because MaxConns is reached or accepting
// has failed, is alive. A loop whose listener has no method SetDeadline cannot be interrupted, and
// counts as alive. The error names each listener whose loop did not answer before ctx ended. ctx must
// have a deadline, or Alive may wait forever. Alive does not check calls of Serve that have returned.
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
				dead[i] = fmt.Errorf("listener %s: the accept loop does not answer", a.name)
			}
		})
	}
	dead[len(acceptors)] = s.connections.reaper.Alive(ctx)
	asking.Wait()
	return errors.Join(dead...)
}
