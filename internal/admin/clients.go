package admin

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"greetd.example/internal/webconfig"
	"greetd.example/pkg/service"
)

const (
	maxClients   = 512 // open connections for each listener
	requestRate  = 50  // requests a second for each listener; more have to wait
	requestBurst = 100 // of them at once
	passwordCost = 10  // requests for which a password counts that has to be checked

	idle = time.Second // without a request: such a client is evicted before others

	minAcceptPause = 5 * time.Millisecond // after a failed accept; doubles up to
	maxAcceptPause = 250 * time.Millisecond
	reportInterval = time.Minute // between two reports of failed accepts
)

// A clientLimiter is a listener with a limit of clients. At the limit, a new client evicts an
// old one: the one that has been idle for longest, or one of the source that has the most
// clients, see evict. Each listener has a limiter of its own, so that clients on TCP cannot
// shut out root on the unix socket.
type clientLimiter struct {
	net.Listener

	report    func(error) // is called with the error of repeated failed accepts
	sometimes rate.Sometimes
	closed    chan struct{} // with the listener
	once      sync.Once

	mu      sync.Mutex
	web     *webconfig.Config    // what clients need; nil: nothing
	clients map[*client]struct{} // at most maxClients
	sources map[string]int       // how many of them each source has
	queue   requestQueue
	closing bool // no more clients are accepted

	running *sync.WaitGroup // the server's: one for each goroutine that serves a client
}

// A client is one connection. What follows limiter is guarded by its mutex.
type client struct {
	net.Conn

	limiter    *clientLimiter
	source     string        // its address, or its process on this machine
	number     uint64        // of its last request in the queue, or of its arrival if it has sent none
	ready      chan struct{} // closed when its request may be answered; nil: it is not in the queue
	lastServed time.Time     // when a request of it was last answered
	lastActive time.Time     // when it arrived, or began its last request
	serving    bool          // a request is being answered: Shutdown waits for it
	mutating   bool          // and that request changes something: it is not evicted
	outdated   bool          // what clients need has changed since it connected: it is closed after its request
	closed     bool          // by evict, drain or protect
}

func newClientLimiter(ln net.Listener, web *webconfig.Config, running *sync.WaitGroup, report func(error)) *clientLimiter {
	return &clientLimiter{
		Listener:  ln,
		web:       web,
		report:    report,
		sometimes: rate.Sometimes{Interval: reportInterval},
		running:   running,
		closed:    make(chan struct{}),
		clients:   make(map[*client]struct{}),
		sources:   make(map[string]int),
		queue:     newRequestQueue(),
	}
}

// Accept accepts the next client, and evicts another one at the limit. After a temporary error
// it tries again, with a longer pause each time, and reports the second in a row; other errors
// are final.
func (l *clientLimiter) Accept() (net.Conn, error) {
	for pause := minAcceptPause; ; {
		c, err := l.Listener.Accept()
		if err == nil {
			if admitted, err := l.admit(c); admitted != nil || err != nil {
				return admitted, err
			}
			pause = minAcceptPause
			continue
		}
		if !service.AcceptPasses(err) {
			return nil, err
		}
		if pause > minAcceptPause { // the first may be one client's fault
			l.sometimes.Do(func() { l.report(fmt.Errorf("%w; trying again", err)) })
		}
		select {
		case <-time.After(pause):
		case <-l.closed:
			return nil, net.ErrClosed
		}
		pause = min(2*pause, maxAcceptPause)
	}
}

// Close stops accepting. It may be called more than once.
func (l *clientLimiter) Close() error {
	var err error
	l.once.Do(func() {
		close(l.closed)
		err = l.Listener.Close()
	})
	return err
}

// admit registers c before net/http serves it, so that Shutdown waits for every client. It
// returns nil if c itself is the one to evict.
func (l *clientLimiter) admit(c net.Conn) (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closing {
		_ = c.Close()
		return nil, net.ErrClosed
	}
	admitted := &client{Conn: c, limiter: l, source: sourceOf(c), number: l.queue.next(), lastActive: time.Now()}
	if len(l.clients) >= maxClients && !l.evict(admitted) {
		_ = c.Close()
		return nil, nil
	}
	l.clients[admitted] = struct{}{}
	l.sources[admitted.source]++
	l.running.Add(1)
	return l.secure(admitted), nil
}

// secure puts TLS over the connection of c, if clients need that. The mutex is held. A handshake
// waits in the queue, since it costs as much as a request.
func (l *clientLimiter) secure(c *client) net.Conn {
	settings := l.web.TLS()
	if settings == nil {
		return c
	}
	settings.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		return nil, l.wait(hello.Context(), c)
	}
	return tls.Server(c, settings)
}

// clientOf is the client whose connection, perhaps with TLS, net/http has.
func clientOf(c net.Conn) *client {
	if secured, ok := c.(*tls.Conn); ok {
		c = secured.NetConn()
	}
	return c.(*client)
}

// protect changes what clients need. Clients from before must connect again, unless that is the same.
func (l *clientLimiter) protect(web *webconfig.Config) {
	l.mu.Lock()
	defer l.mu.Unlock()
	same := l.web.Equal(web)
	l.web = web
	for c := range l.clients {
		switch {
		case same:
		case c.serving:
			c.outdated = true
		default:
			c.closeLocked()
		}
	}
}

// admits reports whether clients need nothing more than r has, and else answers it.
func (l *clientLimiter) admits(w http.ResponseWriter, r *http.Request) bool {
	l.mu.Lock()
	web := l.web
	l.mu.Unlock()
	return web == nil || web.Admit(w, r, l.slowDown)
}

// slowDown makes the next requests wait, for the time that a password takes.
func (l *clientLimiter) slowDown() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queue.limit.ReserveN(time.Now(), passwordCost)
}

// evict closes one client: the one that has been idle for longest, else, of the source with the
// most clients, the last one in the queue. It reports false if that is the new one.
func (l *clientLimiter) evict(newcomer *client) bool {
	var idlest *client
	last := newcomer
	for c := range l.clients {
		switch {
		case c.mutating:
		case c.ready == nil && time.Since(c.lastActive) > idle:
			if idlest == nil || c.lastActive.Before(idlest.lastActive) {
				idlest = c
			}
		case l.sources[c.source] > l.sources[last.source],
			l.sources[c.source] == l.sources[last.source] && l.queue.before(last, c):
			last = c
		}
	}
	evicted := cmp.Or(idlest, last)
	if evicted == newcomer {
		return false
	}
	evicted.closeLocked()
	return true
}

// drain accepts no more clients, and closes those without a request that is being answered.
func (l *clientLimiter) drain() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closing = true
	for c := range l.clients {
		if !c.serving {
			c.closeLocked()
		}
	}
}

// remove makes room for another client. The mutex is held. A second call does nothing.
func (l *clientLimiter) remove(c *client) {
	if _, ok := l.clients[c]; !ok {
		return
	}
	delete(l.clients, c)
	if l.sources[c.source]--; l.sources[c.source] == 0 {
		delete(l.sources, c.source)
	}
}

// closeLocked closes the connection. The mutex is held.
func (c *client) closeLocked() {
	c.closed = true
	_ = c.Close()
	c.limiter.remove(c)
	if c.ready != nil {
		c.limiter.queue.grant(c) // beginRequest then reports that it is closed
	}
}

// beginRequest marks the client as being answered. It reports false if the connection was
// closed in the meantime.
func (c *client) beginRequest(mutating bool) bool {
	c.limiter.mu.Lock()
	defer c.limiter.mu.Unlock()
	c.lastActive, c.serving, c.mutating = time.Now(), true, mutating
	return !c.closed
}

// endRequest is called when the answer was written.
func (c *client) endRequest() {
	c.limiter.mu.Lock()
	defer c.limiter.mu.Unlock()
	c.serving, c.mutating = false, false
	if c.limiter.closing || c.outdated {
		c.closeLocked()
	}
}

// release is called when the goroutine that served the client has ended.
func (c *client) release() {
	c.limiter.mu.Lock()
	defer c.limiter.mu.Unlock()
	c.limiter.remove(c)
	c.limiter.running.Done()
}

// CloseWrite lets net/http half-close a connection whose body it does not read to the end.
func (c *client) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
