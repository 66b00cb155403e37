package service

import (
	"context"
	"crypto/tls"
	"errors"
	"maps"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// ErrClosed is what Serve returns after Shutdown or Close.
var ErrClosed = errors.New("service: server closed")

const (
	defaultWriteTimeout     = 5 * time.Second
	defaultHandshakeTimeout = 3 * time.Second
	defaultLingerTimeout    = time.Second
)

// A Server greets on any number of listeners. The zero value works: it tells each
// client its own address. The exported fields must not change once Serve was
// called; Update changes what they say while it serves. A Server must not be
// copied, and is of no use after Shutdown or Close.
type Server struct {
	Greeter  Greeter  // what clients are told; nil: "Hello there, ADDRESS!\n"
	Observer Observer // told what happens; nil: nobody is

	// Admit decides, after a PROXY header and before TLS, whether a client is served.
	// An error refuses it. leave, if not nil, is called once, when the connection is
	// closed for good. nil admits everybody. It is called from many goroutines at
	// once and must not block. A client that it refuses is asked for again at once, after a
	// look for others who have just left.
	Admit func(Peer) (leave func(), err error)

	// SpokeTLS, if not nil, is told of each client that was greeted in plain text and
	// answers with the beginning of a TLS handshake: the greeting is lost on it. It is
	// called while the connection lingers, and must not block.
	SpokeTLS func(Peer)

	WriteTimeout     time.Duration // for a whole greeting, however it trickles; 0: 5 s
	HandshakeTimeout time.Duration // for a PROXY header and TLS together; 0: 3 s
	LingerTimeout    time.Duration // for the client to hang up after its greeting; 0: 1 s; negative: closed at once

	// MaxConns limits the connections at any one time, lingering ones included; 0: no
	// limit. When it is reached, the oldest lingering connection gives way to a new
	// one; where none lingers, accepting stops and new ones wait in the backlog.
	MaxConns int

	start   sync.Once
	rules   atomic.Pointer[rules]
	running sync.WaitGroup // accept loops, visits and the reaper
	loops   sync.WaitGroup // accept loops alone: they end before connections are waited for
	reaper  *reaper
	lastID  atomic.Uint64

	mu        sync.Mutex
	acceptors map[*acceptor]struct{}
	counters  map[string]*counters // by Listener.Name; kept when a listener is gone, since counts never go down
	visits    visitList            // the connections whose visit has not ended
	lingering int                  // the connections that are with the reaper
	waiters   int                  // who wait for changed
	closing   bool
	draining  chan struct{} // closed when Shutdown or Close begins
	cutting   chan struct{} // closed when visits are to be cut
	changed   chan struct{} // closed, and made anew, when there may be room, or nothing left
}

// A Listener is where clients come from, and how they are received there.
type Listener struct {
	net.Listener

	// Name is what Peer, Observer and Stats call it. Several may share a name, such as
	// the IPv4 and the IPv6 socket of one service; they share Unwrap and TLS as well.
	Name string

	// Unwrap reads what a proxy sends ahead of the client's bytes, and returns a
	// connection whose RemoteAddr and LocalAddr are the client's. It is bounded by
	// HandshakeTimeout. Its error refuses the client. nil: clients come directly.
	Unwrap func(net.Conn) (net.Conn, error)

	// TLS, if not nil, makes clients shake hands before they are greeted.
	TLS *tls.Config
}

// rules are what one visit goes by from its start to its end.
type rules struct {
	greeter  Greeter
	admit    func(Peer) (func(), error)
	write    time.Duration
	shake    time.Duration
	linger   time.Duration
	maxConns int
	manners  map[string]manners // by Listener.Name
}

type manners struct {
	unwrap func(net.Conn) (net.Conn, error)
	tls    *tls.Config
}

func (s *Server) ownRules() *rules {
	r := &rules{
		greeter:  s.Greeter,
		admit:    s.Admit,
		write:    s.WriteTimeout,
		shake:    s.HandshakeTimeout,
		linger:   s.LingerTimeout,
		maxConns: s.MaxConns,
		manners:  make(map[string]manners),
	}
	if r.greeter == nil {
		r.greeter = hello{}
	}
	if r.write == 0 {
		r.write = defaultWriteTimeout
	}
	if r.shake == 0 {
		r.shake = defaultHandshakeTimeout
	}
	if r.linger == 0 {
		r.linger = defaultLingerTimeout
	}
	return r
}

func (s *Server) init() {
	s.start.Do(func() {
		s.acceptors = make(map[*acceptor]struct{})
		s.counters = make(map[string]*counters)
		s.visits.init()
		s.draining = make(chan struct{})
		s.cutting = make(chan struct{})
		s.changed = make(chan struct{})
		s.rules.Store(s.ownRules())
		s.reaper = newReaper(s.left, s.heard)
	})
}

// Update makes visits that begin from now on go by next's Greeter, Admit, timeouts
// and MaxConns, and by the Unwrap and TLS of each of the listeners, found by Name.
// A visit goes by one version from its start to its end. Listeners that are not
// named keep their manners. next's other fields are not looked at, and next itself
// is not kept. Update may be called before Serve, and from any goroutine.
func (s *Server) Update(next *Server, listeners ...Listener) {
	s.init()
	r := next.ownRules()

	s.mu.Lock()
	defer s.mu.Unlock()
	maps.Copy(r.manners, s.rules.Load().manners)
	for _, ln := range listeners {
		r.manners[ln.Name] = manners{ln.Unwrap, ln.TLS}
	}
	s.rules.Store(r)
	s.wake() // there may be more room now
	s.reaper.shorten(max(r.linger, 0))
}

// Serve accepts connections on ln and greets them until ln is closed or broken, or
// the server is shut down. It always closes ln. It returns ErrClosed after Shutdown
// or Close, and otherwise why it can't go on: an error that matches [net.ErrClosed]
// if somebody else closed ln. Visits that have begun go on after it has returned.
func (s *Server) Serve(ln Listener) error {
	s.init()
	a := &acceptor{server: s, Listener: ln, beat: make(chan struct{}, 1)}
	if !s.open(a) {
		_ = ln.Close()
		return ErrClosed
	}
	defer s.loops.Done()
	defer s.running.Done()
	err := a.loop()
	return s.closed(a, err)
}

// open registers a, unless the server is closing.
func (s *Server) open(a *acceptor) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	s.running.Add(1)
	s.loops.Add(1)
	s.acceptors[a] = struct{}{}
	a.counters = s.counters[a.Name]
	if a.counters == nil {
		a.counters = &counters{}
		s.counters[a.Name] = a.counters
	}

	r := *s.rules.Load()
	r.manners = maps.Clone(r.manners)
	r.manners[a.Name] = manners{a.Unwrap, a.TLS}
	s.rules.Store(&r)
	return true
}

// closed takes a out again, and says why its loop ended.
func (s *Server) closed(a *acceptor, err error) error {
	_ = a.Close()
	a.trouble.end(a)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.acceptors, a)
	if s.closing {
		return ErrClosed
	}
	return err
}

// Shutdown closes the listeners, lets visits and lingering connections come to their
// end, and cuts those that are left when ctx ends. When it returns, nothing is
// running any more: no goroutine, no descriptor. It returns the cause of ctx's end
// if that cut anything, else nil.
func (s *Server) Shutdown(ctx context.Context) error {
	s.init()
	s.close()
	s.loops.Wait()

	s.reaper.hurry() // whoever has left is nobody to wait for
	err := s.drained(ctx)
	if err != nil {
		s.cut()
	}
	s.reaper.close()
	s.running.Wait()
	return err
}

// Close is Shutdown without patience: it cuts every visit at once. During a Shutdown
// it ends that one's patience.
func (s *Server) Close() error {
	s.init()
	s.close()
	s.cut()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = s.Shutdown(ctx)
	return nil
}

// close stops accepting.
func (s *Server) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return
	}
	s.closing = true
	close(s.draining)
	s.wake()
	for a := range s.acceptors {
		_ = a.Close()
	}
}

// drained waits until no connection is left, ctx ends, or the visits are cut.
func (s *Server) drained(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiters++
	defer func() { s.waiters-- }()
	for s.visits.len+s.lingering > 0 {
		changed := s.changed
		s.mu.Unlock()
		var err error
		select {
		case <-changed:
		case <-s.cutting:
			err = ErrClosed
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
		s.mu.Lock()
		if err != nil {
			return err
		}
	}
	return nil
}

// cut ends every visit. They report that themselves.
func (s *Server) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.cutting:
	default:
		close(s.cutting)
	}
	for v := range s.visits.all() {
		v.cut()
	}
}

// wake tells everybody who waits that something has changed. s.mu is held.
func (s *Server) wake() {
	if s.waiters == 0 {
		return
	}
	close(s.changed)
	s.changed = make(chan struct{})
}
