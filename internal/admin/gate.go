package admin

import (
	"fmt"
	"net"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"greetd.example/pkg/service"
)

const (
	maxClients   = 512 // open connections for each listener
	requestRate  = 50  // requests a second for each listener; more have to wait
	requestBurst = 100 // of them at once

	idle = time.Second // a client that has not asked for so long gives way before others

	minAcceptPause = 5 * time.Millisecond // after a failed accept; doubles up to
	maxAcceptPause = 250 * time.Millisecond
	reportInterval = time.Minute // between two reports of failed accepts
)

// A gate is a listener that never keeps a new client out because of old ones: when
// all places are taken, the one that has been quiet for longest gives way, or, where all have
// just come or wait, one of the source that has most of them, see evict. Each listener has a gate of
// its own, so that nobody on TCP can shut out root on the unix socket.
type gate struct {
	net.Listener

	report    func(error) // gets why nobody can be accepted
	sometimes rate.Sometimes
	closed    chan struct{} // with the listener
	once      sync.Once

	mu      sync.Mutex
	clients map[*client]struct{} // at most maxClients
	sources map[string]int       // how many of them each source has
	turns   turns
	closing bool // nobody enters any more

	running *sync.WaitGroup // the server's: one for each goroutine that serves a client
}

// A client is one connection. What follows gate is guarded by its mutex.
type client struct {
	net.Conn

	gate    *gate
	source  string        // where it comes from: an address, or a process
	number  uint64        // of its request, or where it has sent none, of its coming
	ready   chan struct{} // closed when it is its turn; nil: it does not wait
	served  time.Time     // when its turn was last
	quiet   time.Time     // since when nothing was heard of it
	serving bool          // a request is being answered: Shutdown waits for it
	changes bool          // and that request changes something: it does not give way
	gone    bool          // it had to give way, or Shutdown has closed it
}

func newGate(ln net.Listener, running *sync.WaitGroup, report func(error)) *gate {
	return &gate{
		Listener:  ln,
		report:    report,
		sometimes: rate.Sometimes{Interval: reportInterval},
		running:   running,
		closed:    make(chan struct{}),
		clients:   make(map[*client]struct{}),
		sources:   make(map[string]int),
		turns:     newTurns(),
	}
}

// Accept waits for the next client and makes room for it. After an error that passes it tries again,
// later each time, and reports the second in a row; other errors are final.
func (g *gate) Accept() (net.Conn, error) {
	for pause := minAcceptPause; ; {
		c, err := g.Listener.Accept()
		if err == nil {
			if entered, err := g.enter(c); entered != nil || err != nil {
				return entered, err
			}
			pause = minAcceptPause
			continue
		}
		if !service.AcceptPasses(err) {
			return nil, err
		}
		if pause > minAcceptPause { // it was not one client's
			g.sometimes.Do(func() { g.report(fmt.Errorf("%w; trying again", err)) })
		}
		select {
		case <-time.After(pause):
		case <-g.closed:
			return nil, net.ErrClosed
		}
		pause = min(2*pause, maxAcceptPause)
	}
}

// Close stops accepting. It may be called more than once.
func (g *gate) Close() error {
	var err error
	g.once.Do(func() {
		close(g.closed)
		err = g.Listener.Close()
	})
	return err
}

// enter registers c before anybody serves it, so that Shutdown misses nobody. It returns nil if
// there is no room for c.
func (g *gate) enter(c net.Conn) (net.Conn, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closing {
		_ = c.Close()
		return nil, net.ErrClosed
	}
	entered := &client{Conn: c, gate: g, source: sourceOf(c), number: g.turns.number(), quiet: time.Now()}
	if len(g.clients) >= maxClients && !g.evict(entered) {
		_ = c.Close()
		return nil, nil
	}
	g.clients[entered] = struct{}{}
	g.sources[entered.source]++
	g.running.Add(1)
	return entered, nil
}

// evict closes the client that has been quiet for longest, or, where all have just come or wait, of
// the source that has most of them the one whose turn would be last. It reports false if that is the
// new one.
func (g *gate) evict(entering *client) bool {
	var quietest *client
	last := entering
	for c := range g.clients {
		switch {
		case c.changes:
		case c.ready == nil && time.Since(c.quiet) > idle:
			if quietest == nil || c.quiet.Before(quietest.quiet) {
				quietest = c
			}
		case g.sources[c.source] > g.sources[last.source],
			g.sources[c.source] == g.sources[last.source] && g.turns.before(last, c):
			last = c
		}
	}
	switch {
	case quietest != nil:
		quietest.hangUp()
	case last != entering:
		last.hangUp()
	default:
		return false
	}
	return true
}

// shut closes the clients that no request is being answered to, and lets in no more.
func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closing = true
	for c := range g.clients {
		if !c.serving {
			c.hangUp()
		}
	}
}

// remove gives the place of c to others, with the mutex held. It may be called again.
func (g *gate) remove(c *client) {
	if _, ok := g.clients[c]; !ok {
		return
	}
	delete(g.clients, c)
	if g.sources[c.source]--; g.sources[c.source] == 0 {
		delete(g.sources, c.source)
	}
}

// hangUp closes the connection, with the mutex held.
func (c *client) hangUp() {
	c.gone = true
	_ = c.Close()
	c.gate.remove(c)
	if c.ready != nil {
		c.gate.turns.call(c) // it finds out that it is gone
	}
}

// begin says that a request is about to be answered, and whether it changes
// something. It reports false if it is too late: nobody would get the answer.
func (c *client) begin(changes bool) bool {
	c.gate.mu.Lock()
	defer c.gate.mu.Unlock()
	c.quiet, c.serving, c.changes = time.Now(), true, changes
	return !c.gone
}

// end says that the answer is on its way.
func (c *client) end() {
	c.gate.mu.Lock()
	defer c.gate.mu.Unlock()
	c.serving, c.changes = false, false
	if c.gate.closing {
		c.hangUp()
	}
}

// leave says that the goroutine which served the client has ended.
func (c *client) leave() {
	c.gate.mu.Lock()
	defer c.gate.mu.Unlock()
	c.gate.remove(c)
	c.gate.running.Done()
}

// CloseWrite lets net/http end a connection politely when it gives up on a body.
func (c *client) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
