package service_test

import (
	"context"
	"io"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"greetd.example/pkg/service"
)

// held is a listener that accepts nobody until it is let go, and can't be nudged.
type held struct {
	net.Listener
	letGo chan struct{}
}

func (h held) Accept() (net.Conn, error) {
	<-h.letGo
	return h.Listener.Accept()
}

func (h held) Close() error {
	select {
	case <-h.letGo:
	default:
		close(h.letGo)
	}
	return h.Listener.Close()
}

func TestAliveIsNoVisitWhenItsTimeIsOver(t *testing.T) {
	for network, address := range map[string]string{"tcp": "127.0.0.1:0", "unix": filepath.Join(t.TempDir(), "alive.sock")} {
		t.Run(network, func(t *testing.T) {
			ln, err := net.Listen(network, address)
			if err != nil {
				t.Fatal(err)
			}
			seen := &record{}
			srv := &service.Server{Observer: seen}
			letGo := make(chan struct{})
			serveOn(t, srv, held{ln, letGo})
			eventually(t, "it serves", func() bool { return len(srv.Stats()) == 1 })
			var asked sync.WaitGroup
			for range 10 {
				asked.Go(func() {
					ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
					defer cancel()
					if err := srv.Alive(ctx); err == nil {
						t.Error("a loop that is held is alive")
					}
				})
			}
			asked.Wait()
			close(letGo)
			readAll(t, dialKernel(t, ln.Addr()))
			eventually(t, "one visit is counted", func() bool { return srv.Stats()[0].Visits[service.Greeted] == 1 })
			if s := srv.Stats()[0]; s.Active+s.Lingering > 1 || s.Visits[service.HungUp]+s.Visits[service.Failed] > 0 {
				t.Errorf("stats count our own connections: %+v", s)
			}
		})
	}
}

func TestAliveIsNoVisitWhenManyAsk(t *testing.T) {
	for name, listen := range paths {
		t.Run(name, func(t *testing.T) {
			srv := &service.Server{}
			addr := onKernel(t, srv, listen)
			var asked sync.WaitGroup
			for range 8 {
				asked.Go(func() {
					for range 50 {
						ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
						if err := srv.Alive(ctx); err != nil {
							t.Errorf("Alive = %v", err)
						}
						cancel()
					}
				})
			}
			asked.Wait()
			readAll(t, dialKernel(t, addr))
			eventually(t, "one visit is counted", func() bool { return srv.Stats()[0].Visits[service.Greeted] == 1 })
			if s := srv.Stats()[0]; s.Visits[service.HungUp]+s.Visits[service.Failed] > 0 {
				t.Errorf("stats count our own connections: %+v", s)
			}
		})
	}
}

func readAll(t *testing.T, c net.Conn) {
	t.Helper()
	if text, err := io.ReadAll(c); err != nil || len(text) == 0 {
		t.Errorf("a client hears %q, %v", text, err)
	}
}
