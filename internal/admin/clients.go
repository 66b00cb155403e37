package admin

import (
	"cmp"
	"context"
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
	requestRate  = 50  // requests a second for each listener; further requests wait
	requestBurst = 100 // requests at once, after a pause
	passwordCost = 10  // checking a password counts as this number of requests

	idle = time.Second // a client without a request for this time is evicted before others

	minAcceptPause = 5 * time.Millisecond // after a failed accept; it doubles up to maxAcceptPause
	maxAcceptPause = 250 * time.Millisecond
	reportInterval = time.Minute // between two reports of failed accepts
)

// A clientLimiter is a listener with a limit of clients. At the limit, a new client evicts another one:
// the client that has been idle for longest, or a client of the source with the most clients; see evict.
// Each listener has its own limiter, so that clients on TCP cannot keep root from using the unix socket.
type clientLimiter struct {
	net.Listener

	report    func(error) // is called with the error when accept fails repeatedly
	sometimes rate.Sometimes
	ending    context.Context // Server.ending

	mu      sync.Mutex
	web     *webconfig.Config    // requirements for clients: TLS, passwords; nil: none
	clients map[*client]struct{} // at most maxClients
	sources map[string]int       // number of clients of each source
	queue   requestQueue
	closing bool // no more clients are accepted

	running *sync.WaitGroup // Server.running: one for each goroutine that serves a client
}

// A client is one connection. The mutex of limiter guards the fields after it.
type client struct {
	net.Conn

	limiter    *clientLimiter
	source     string        // its address, or its process on this machine
	number     uint64        // number in the queue of its last request, or of its arrival before the first request
	ready      chan struct{} // closed when its request may be answered; nil: it is not in the queue
	lastServed time.Time     // time when its last request was granted
	lastActive time.Time     // time when it arrived, or when the answer to its last request began
	serving    bool          // a request is being answered: Shutdown waits for it
	mutating   bool          // the request that is being answered changes something: the client is not evicted
	outdated   bool          // the requirements have changed since it connected: it is closed after its request
	closed     bool          // closed by evict, drain or protect
}

func newClientLimiter(ending context.Context, ln net.Listener, running *sync.WaitGroup, report func(error)) *clientLimiter {
	return &clientLimiter{
		Listener:  ln,
		ending:    ending,
		report:    report,
		sometimes: rate.Sometimes{Interval: reportInterval},
		running:   running,
		clients:   make(map[*client]struct{}),
		sources:   make(map[string]int),
		queue:     newRequestQueue(),
	}
}

// Accept accepts the next client, and evicts another one at the limit. After a temporary error it tries
// again, with a longer pause each time, and reports the error if it is not the first in a row. It returns
// other errors.
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
		if pause > minAcceptPause { // the first error can be caused by one client
			l.sometimes.Do(func() { l.report(fmt.Errorf("%w; trying again", err)) })
		}
		select {
		case <-time.After(pause):
		case <-l.ending.Done():
			return nil, net.ErrClosed
		}
		pause = min(2*pause, maxAcceptPause)
	}
}

// admit registers c before net/http serves it, so that Shutdown waits for every client. It
// returns nil if c itself is the client to evict.
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

// secure returns the connection of c, with TLS over it if web requires TLS. The mutex is held. A TLS
// handshake waits in the queue, since it costs as much as a request.
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

// clientOf returns the client of a connection that net/http has. The connection can be one with TLS.
func clientOf(c net.Conn) *client {
	if secured, ok := c.(*tls.Conn); ok {
		c = secured.NetConn()
	}
	return c.(*client)
}

// protect changes the requirements for clients, unless they are on a unix socket. If web differs from before,
// clients that have connected before must connect again.
func (l *clientLimiter) protect(web *webconfig.Config) {
	if l.Addr().Network() == "unix" {
		return
	}
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

// admits reports whether r meets the requirements for clients. If it does not, admits answers it.
func (l *clientLimiter) admits(w http.ResponseWriter, r *http.Request) bool {
	l.mu.Lock()
	web := l.web
	l.mu.Unlock()
	return web == nil || web.Admit(w, r, l.slowDown)
}

// slowDown makes the next requests wait, since the check of a password takes as long as several requests.
func (l *clientLimiter) slowDown() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queue.limit.ReserveN(time.Now(), passwordCost)
}

// evict closes one client: the client that has been idle for longest, if one is idle. Otherwise it is,
// among the clients of the source with the most clients, the last one in the queue. If this is the
// newcomer, evict closes nothing and returns false.
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

// drain stops accepting clients, and closes the clients without a request that is being answered.
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

// remove removes c from the clients of l, which makes room for another one. The mutex is held. A second
// call does nothing.
func (l *clientLimiter) remove(c *client) {
	if _, ok := l.clients[c]; !ok {
		return
	}
	delete(l.clients, c)
	if l.sources[c.source]--; l.sources[c.source] == 0 {
		delete(l.sources, c.source)
	}
}

// closeLocked closes the connection, and removes c from its limiter. The mutex is held.
func (c *client) closeLocked() {
	c.closed = true
	_ = c.Close()
	c.limiter.remove(c)
	if c.ready != nil {
		c.limiter.queue.grant(c) // ends wait; beginRequest then reports that c is closed
	}
}

// beginRequest marks the client as being answered. It returns false if the connection was closed in the
// meantime. mutating means that the request changes something.
func (c *client) beginRequest(mutating bool) bool {
	c.limiter.mu.Lock()
	defer c.limiter.mu.Unlock()
	c.lastActive, c.serving, c.mutating = time.Now(), true, mutating
	return !c.closed
}

// endRequest marks the end of a request, when its answer has been written.
func (c *client) endRequest() {
	c.limiter.mu.Lock()
	defer c.limiter.mu.Unlock()
	c.serving, c.mutating = false, false
	if c.limiter.closing || c.outdated {
		c.closeLocked()
	}
}

// release removes the client, when the goroutine that served it has ended.
func (c *client) release() {
	c.limiter.mu.Lock()
	defer c.limiter.mu.Unlock()
	c.limiter.remove(c)
	c.limiter.running.Done()
}

// CloseWrite half-closes the connection. net/http calls it if it does not read a request body to its end.
func (c *client) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
