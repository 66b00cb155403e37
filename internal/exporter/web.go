package exporter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/exporter-toolkit/web"
)

// A Server serves Handler on any number of listeners, with the TLS and the passwords of
// WebConfigFile.
type Server struct {
	Handler       http.Handler
	WebConfigFile string // a file of exporter-toolkit; "": plain HTTP without a password
	Log           *slog.Logger

	mu      sync.Mutex
	servers []*http.Server // one for each listener, since exporter-toolkit changes the server
}

// CheckWebConfig returns the problem of a file of exporter-toolkit in one line; nil if it is valid or "".
func CheckWebConfig(file string) error {
	err := web.Validate(file)
	if err == nil {
		return nil
	}
	text := strings.TrimPrefix(strings.Join(strings.Fields(err.Error()), " "), "yaml: unmarshal errors: ")
	if strings.Contains(text, file) {
		return errors.New(text)
	}
	return fmt.Errorf("%s: %s", file, text)
}

// Serve answers the clients of ln until Shutdown or Close.
func (s *Server) Serve(ln net.Listener) error {
	server := &http.Server{
		Handler: s.Handler, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug), // a client must not be able to fill the log
	}
	s.mu.Lock()
	s.servers = append(s.servers, server)
	s.mu.Unlock()
	return web.Serve(ln, server, &web.FlagConfig{WebConfigFile: &s.WebConfigFile}, s.Log)
}

// Shutdown waits until the requests are answered, or ctx is done.
func (s *Server) Shutdown(ctx context.Context) error {
	return s.each(func(server *http.Server) error { return server.Shutdown(ctx) })
}

// Close cuts the connections.
func (s *Server) Close() error { return s.each((*http.Server).Close) }

// SetKeepAlivesEnabled does the same as the method of [http.Server], for all listeners.
func (s *Server) SetKeepAlivesEnabled(enabled bool) {
	_ = s.each(func(server *http.Server) error {
		server.SetKeepAlivesEnabled(enabled)
		return nil
	})
}

func (s *Server) each(do func(*http.Server) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, server := range s.servers {
		errs = append(errs, do(server))
	}
	return errors.Join(errs...)
}
