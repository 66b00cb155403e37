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
	maxClients   = 32  // open connections for each listener
	requestRate  = 50  // requests a second for each listener; more have to wait
	requestBurst = 100 // of them at once

	minAcceptPause = 5 * time.Millisecond // after a failed accept; doubles up to
	maxAcceptPause = 250 * time.Millisecond
	reportInterval = time.Minute // between two reports of failed accepts
)

// A gate is a listener that never keeps a new client out because of old ones: when
// all places are taken, the one that has been quiet for longest gives way. Each
// listener has a gate of its own, so that nobody on TCP can shut out root on the
// unix socket.
type gate struct {
	net.Listener

	report    func(error) // gets why nobody can be accepted
	sometimes rate.Sometimes
	limit     *rate.Limiter
	closed    chan struct{} // with the listener
	once      sync.Once

	mu      sync.Mutex
	clients map[*client]struct{} // at most maxClients
	closing bool                 // nobody enters any more

	running *sync.WaitGroup // the server's: one for each goroutine that serves a client
}

// A client is one connection. What follows gate is guarded by its mutex.
type client struct {
	net.Conn

	gate    *gate
	quiet   time.Time // since when nothing was heard of it
	serving bool      // a request is being answered: Shutdown waits for it
	changes bool      // and that request changes something: it does not give way
	gone    bool      // it had to give way, or Shutdown has closed it
}

func newGate(ln net.Listener, running *sync.WaitGroup, report func(error)) *gate {
	return &gate{
		Listener:  ln,
		report:    report,
		sometimes: rate.Sometimes{Interval: reportInterval},
		running:   running,
		limit:     rate.NewLimiter(requestRate, requestBurst),
		closed:    make(chan struct{}),
		clients:   make(map[*client]struct{}),
	}
}

// Accept waits for the next client and makes room for it. After an error that passes it tries again,
// later each time, and reports the second in a row; other errors are final.
func (g *gate) Accept() (net.Conn, error) {
	for pause := minAcceptPause; ; pause = min(2*pause, maxAcceptPause) {
		c, err := g.Listener.Accept()
		if err == nil {
			return g.enter(c)
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

// enter registers c before anybody serves it, so that Shutdown misses nobody.
func (g *gate) enter(c net.Conn) (net.Conn, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closing {
		_ = c.Close()
		return nil, net.ErrClosed
	}
	if len(g.clients) >= maxClients {
		g.evict()
	}
	entered := &client{Conn: c, gate: g, quiet: time.Now()}
	g.clients[entered] = struct{}{}
	g.running.Add(1)
	return entered, nil
}

// evict closes the client that has been quiet for longest. There is one: fewer
// changes are let in at a time than there are places.
func (g *gate) evict() {
	var quietest *client
	for c := range g.clients {
		if !c.changes && (quietest == nil || c.quiet.Before(quietest.quiet)) {
			quietest = c
		}
	}
	quietest.hangUp()
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

// hangUp closes the connection, with the mutex held.
func (c *client) hangUp() {
	c.gone = true
	_ = c.Close()
	delete(c.gate.clients, c)
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
	delete(c.gate.clients, c)
	c.gate.running.Done()
}

// CloseWrite lets net/http end a connection politely when it gives up on a body.
func (c *client) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
