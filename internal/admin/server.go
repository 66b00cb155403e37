package admin

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"path"
	"strings"
	"sync"
	"time"

	"greetd.example/internal/webconfig"
	"greetd.example/internal/words"
)

// Limits of a client. Everything but a reload takes milliseconds.
const (
	readTimeout  = 5 * time.Second // for a whole request
	writeTimeout = 5 * time.Second // for a whole answer
	idleTimeout  = 2 * time.Minute // between requests: longer than a usual scrape interval
	maxHeader    = 8 << 10
	maxBody      = 1 << 10
	maxReloads   = 8 // in progress or waiting; further ones are refused
)

// A Server answers HTTP requests for one [Daemon]. The clients of each listener have at most 512
// connections, and get at most 50 answers a second in the long run. Sources with few requests are
// answered first.
type Server struct {
	daemon  Daemon
	mux     *http.ServeMux
	paths   []string // all, sorted
	reading []string // those of GET, sorted
	history history
	tracker healthTracker
	http    http.Server
	reloads chan struct{} // has one element for each reload in progress or waiting

	ending  context.Context // done when Shutdown begins
	end     context.CancelFunc
	stopped context.Context // done when the context of Shutdown is done, or when Shutdown has closed all connections
	stop    context.CancelFunc

	mu       sync.Mutex
	limiters map[*clientLimiter]struct{} // of the calls of Serve that have not returned
	web      *webconfig.Config           // requirements for clients over TCP; nil: none
	running  sync.WaitGroup              // one for each goroutine that serves a client, and one for keepHistory
}

type clientKey struct{}

// New returns a server for d. Call [Server.Serve] with a listener to answer requests, and [Server.Shutdown]
// to end it.
func New(d Daemon) *Server {
	s := &Server{daemon: d, reloads: make(chan struct{}, maxReloads), limiters: make(map[*clientLimiter]struct{})}
	s.ending, s.end = context.WithCancel(context.Background())
	s.stopped, s.stop = context.WithCancel(context.Background())
	s.mux = s.newMux()
	s.http = http.Server{
		Handler:        s,
		ReadTimeout:    readTimeout,
		WriteTimeout:   writeTimeout,
		IdleTimeout:    idleTimeout,
		MaxHeaderBytes: maxHeader,
		ErrorLog:       log.New(io.Discard, "", 0), // a client must not be able to fill the log
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, clientKey{}, clientOf(c))
		},
		ConnState: func(c net.Conn, state http.ConnState) {
			switch state {
			case http.StateIdle:
				clientOf(c).endRequest()
			case http.StateClosed:
				clientOf(c).release()
			}
		},
	}
	return s
}

// newMux returns a ServeMux with all paths, and sets paths and reading.
func (s *Server) newMux() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("/", s.notFound)
	for _, route := range []struct {
		method, path string
		answer       http.HandlerFunc
	}{
		{http.MethodGet, "/", s.servePage},
		{http.MethodGet, "/healthz", serveCondition(s.daemon.Healthy)},
		{http.MethodGet, "/history", s.serveHistory},
		{http.MethodPost, "/log-level", s.serveLogLevel},
		{http.MethodGet, "/metrics", s.daemon.Metrics.ServeHTTP},
		{http.MethodGet, "/readyz", serveCondition(s.daemon.Ready)},
		{http.MethodPost, "/reload", s.serveReload},
		{http.MethodGet, "/status", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, s.status()) }},
	} {
		pattern := route.path
		if pattern == "/" {
			pattern = "/{$}" // only this path, without the paths below it
		}
		mux.HandleFunc(route.method+" "+pattern, route.answer) // GET includes HEAD
		mux.HandleFunc(pattern, otherMethod(route.method))
		s.paths = append(s.paths, route.path)
		if route.method == http.MethodGet {
			s.reading = append(s.reading, route.path)
		}
	}
	return mux
}

func (s *Server) notFound(w http.ResponseWriter, r *http.Request) {
	writeText(w, http.StatusNotFound, "there is no "+words.Quote(r.URL.Path)+" here; there is "+strings.Join(s.paths, " "))
}

// otherMethod returns a handler that answers 405 to requests with other methods than method.
func otherMethod(method string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Allow", strings.Replace(method, http.MethodGet, "GET, HEAD", 1))
		writeText(w, http.StatusMethodNotAllowed, r.URL.Path+" takes "+method+", not "+words.Quote(r.Method))
	}
}

// Serve answers the clients of ln, and closes ln before it returns. It returns nil after Shutdown, and when
// ln is closed elsewhere; otherwise it returns the error of accept. It does not cut requests that are being
// answered. It may be called for several listeners at once.
func (s *Server) Serve(ln net.Listener) error {
	l := newClientLimiter(s.ending, ln, &s.running, func(err error) { s.daemon.Failed(fmt.Errorf("accept on %s for admin: %w", ln.Addr(), err)) })
	if !s.open(l) {
		_ = ln.Close()
		return nil
	}
	defer s.close(l)
	err := s.http.Serve(l) // closes l
	if errors.Is(err, http.ErrServerClosed) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return fmt.Errorf("accept on %s for admin: %w", ln.Addr(), err)
}

// Protect sets the requirements for clients over TCP; nil means none. If web differs from before, connected
// clients must connect again. Requests that are being answered are finished first. A unix socket is protected
// by its permissions.
func (s *Server) Protect(web *webconfig.Config) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.web = web
	for l := range s.limiters {
		l.protect(web)
	}
}

// open registers a limiter. It returns false after Shutdown.
func (s *Server) open(l *clientLimiter) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ending.Err() != nil {
		return false
	}
	s.limiters[l] = struct{}{}
	l.protect(s.web)
	s.history.begin.Do(func() { s.running.Go(s.keepHistory) })
	return true
}

// close unregisters a limiter, and closes its clients that have no request being answered.
func (s *Server) close(l *clientLimiter) {
	l.drain()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.limiters, l)
}

// Shutdown closes all listeners, and waits for the requests that are being answered, including a reload.
// When ctx is done, Shutdown cuts these requests, cancels the context of [Daemon.Reload], and returns the
// reason. When it returns, no goroutine of the server is running any more, and Serve does not serve
// further listeners.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.end()
	for l := range s.limiters {
		l.drain()
	}
	s.mu.Unlock()
	err := s.http.Shutdown(ctx)
	s.stop()
	if err != nil {
		_ = s.http.Close()
		err = fmt.Errorf("shut down admin: %w", cmp.Or(context.Cause(ctx), err))
	}
	s.running.Wait()
	return err
}

// ServeHTTP implements [http.Handler], for the connections that Serve has accepted.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := r.Context().Value(clientKey{}).(*client)
	_, trusted := c.LocalAddr().(*net.UnixAddr)
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")

	// Read the whole request first, so that a client that sends slowly does not take a place in the queue.
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	switch _, tooLarge := errors.AsType[*http.MaxBytesError](err); {
	case tooLarge:
		writeText(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("a body has at most %d bytes here", maxBody))
		return
	case err != nil:
		writeText(w, http.StatusRequestTimeout, fmt.Sprintf("the whole request must arrive within %v", readTimeout))
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	if c.limiter.wait(r.Context(), c) != nil || !c.beginRequest(trusted && r.Method == http.MethodPost) {
		panic(http.ErrAbortHandler) // the connection is closed
	}
	defer s.recoverRequest(w, r)
	if c.limiter.admits(w, r) {
		s.route(w, r, c, trusted)
	}
}

// route passes the request to its handler, or refuses it if the client may not send it. trusted means
// that the client is on the unix socket.
func (s *Server) route(w http.ResponseWriter, r *http.Request, c *client, trusted bool) {
	if rebound(c.LocalAddr(), r.Host) {
		writeText(w, http.StatusMisdirectedRequest, "on this machine, ask by address or as localhost: names like "+words.Quote(r.Host)+" can be a web page's trick")
		return
	}
	switch {
	case r.Method == http.MethodPost && r.Header.Get("Origin") != "":
		writeText(w, http.StatusForbidden, "web pages can change nothing: use greetd's commands, or curl")
	case !trusted && r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		writeText(w, http.StatusMethodNotAllowed, "over TCP nothing can be changed: use greetd's commands, or the unix socket")
	case path.Clean("/"+r.URL.Path) != r.URL.Path:
		s.notFound(w, r) // rather than ServeMux's redirect
	default:
		s.mux.ServeHTTP(w, r)
	}
}

// rebound reports whether a request can come from a web page by DNS rebinding: the listener is on loopback
// or a unix socket, but the host of the request is a name with a dot.
func rebound(local net.Addr, host string) bool {
	if to, err := netip.ParseAddrPort(local.String()); err == nil && !to.Addr().Unmap().IsLoopback() {
		return false
	}
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err != nil && strings.Contains(host, ".")
}

// recoverRequest answers a request whose handler panicked, and reports it to [Daemon.Failed].
func (s *Server) recoverRequest(w http.ResponseWriter, r *http.Request) {
	cause := recover()
	if cause == nil {
		return
	}
	if err, ok := cause.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(cause)
	}
	s.failed("answer "+words.Quote(r.Method+" "+r.URL.Path), cause)
	writeText(w, http.StatusInternalServerError, "greetd has a fault here; its log has the details")
}

// serveCondition returns a handler that answers 200 while condition returns nil, else 503 with its error.
func serveCondition(condition func() error) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if err := condition(); err != nil {
			writeText(w, http.StatusServiceUnavailable, err.Error())
		} else {
			writeText(w, http.StatusOK, "ok")
		}
	}
}

// serveReload reloads the configuration. It completes the reload even if the client hangs up.
func (s *Server) serveReload(w http.ResponseWriter, _ *http.Request) {
	select {
	case s.reloads <- struct{}{}:
		defer func() { <-s.reloads }()
	default:
		w.Header().Set("Retry-After", "1")
		writeText(w, http.StatusServiceUnavailable, fmt.Sprintf("%d reloads are waiting already: try again when they are done", maxReloads))
		return
	}

	result := s.daemon.Reload(s.stopped)                                             //nolint:contextcheck // not the request's: that ends when its client hangs up
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout)) // a new deadline, since a reload can take long

	for _, list := range []*[]string{&result.Problems, &result.Changed, &result.Warnings} {
		*list = append([]string{}, *list...) // JSON has [] and not null
	}
	switch {
	case result.OK:
		writeJSON(w, http.StatusOK, result)
	case result.Unavailable:
		writeJSON(w, http.StatusServiceUnavailable, result)
	default:
		writeJSON(w, http.StatusUnprocessableEntity, result)
	}
}

func (s *Server) serveLogLevel(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	level := strings.TrimSpace(string(body))
	if err == nil && level == "" {
		err = errors.New("the body must be the level, as in curl --data debug")
	}
	if err == nil {
		err = s.daemon.SetLevel(level)
	}
	if err != nil {
		writeText(w, http.StatusBadRequest, err.Error())
		return
	}
	writeText(w, http.StatusOK, "log level is "+level+" until the next reload")
}
