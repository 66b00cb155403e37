package service_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"greetd.example/internal/test/memnet"
	"greetd.example/pkg/service"
)

// steps remembers the steps of visits, and the ends of visits between them.
type steps struct {
	mu   sync.Mutex
	list []string
	all  []service.Step
}

func (s *steps) trace(service.Peer) func(service.Step) {
	return func(step service.Step) {
		s.mu.Lock()
		defer s.mu.Unlock()
		text := fmt.Sprintf("%d %s %v", step.ID, step.Name, step.Elapsed)
		if step.Name == service.StepClosed {
			text += fmt.Sprintf(" %s %s", step.Closed, step.Visit.Outcome)
		}
		s.list, s.all = append(s.list, text), append(s.all, step)
	}
}

func (s *steps) ended(v service.Visit) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, fmt.Sprintf("%d ended %v", v.ID, v.Took))
}

// take returns what was reported, and forgets it.
func (s *steps) take() (list []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list, s.list = s.list, nil
	return list
}

// tracedServer is a server whose steps are remembered.
func tracedServer(srv *service.Server) (*service.Server, *steps) {
	s := &steps{}
	srv.Trace = s.trace
	srv.Observer = service.ObserverFuncs{OnClosed: s.ended}
	return srv, s
}

func TestStepsOfAVisit(t *testing.T) {
	admit := func(service.Peer) (func(), error) { return nil, nil }
	deny := func(service.Peer) (func(), error) { return nil, errors.New("no") }
	for _, test := range []struct {
		name   string
		server *service.Server
		listen func(*testing.T) func(*service.Listener)
		client func(*memnet.Conn)
		want   []string
	}{
		{"hangs up after a second", &service.Server{Admit: admit, LingerTimeout: time.Minute}, nil, func(c *memnet.Conn) {
			time.Sleep(time.Second)
			_ = c.Close()
		}, []string{"accepted 0s", "admitted 0s", "greeting 0s", "half_closed 0s", "ended 0s", "closed 1s client greeted"}},
		{
			"stays", &service.Server{}, nil, func(*memnet.Conn) {},
			[]string{"accepted 0s", "admitted 0s", "greeting 0s", "half_closed 0s", "ended 0s", "closed 1s timeout greeted"},
		},
		{
			"does not linger", &service.Server{LingerTimeout: -1}, nil, func(*memnet.Conn) {},
			[]string{"accepted 0s", "admitted 0s", "greeting 0s", "ended 0s", "closed 0s visit_ended greeted"},
		},
		{
			"denied", &service.Server{Admit: deny}, nil, func(*memnet.Conn) {},
			[]string{"accepted 0s", "ended 0s", "closed 0s visit_ended refused"},
		},
		{
			"no header", &service.Server{}, unwrapping(awaitByte), func(*memnet.Conn) {},
			[]string{"accepted 0s", "ended 3s", "closed 3s visit_ended timed_out"},
		},
		{"header", &service.Server{}, unwrapping(awaitByte), func(c *memnet.Conn) {
			time.Sleep(2 * time.Second)
			_, _ = io.WriteString(c, "x")
			_, _ = io.Copy(io.Discard, c)
			_ = c.Close()
		}, []string{"accepted 0s", "proxy_header 2s", "admitted 2s", "greeting 2s", "half_closed 2s", "ended 2s", "closed 2s client greeted"}},
		{"TLS", &service.Server{}, speakingTLS, func(c *memnet.Conn) {
			_, _ = io.Copy(io.Discard, tls.Client(c, &tls.Config{InsecureSkipVerify: true, ServerName: "greet.example"}))
			time.Sleep(time.Second / 2) // TLS has an end of its own, before the half-close
			_ = c.Close()
		}, []string{"accepted 0s", "admitted 0s", "tls_handshake 0s", "greeting 0s", "half_closed 0s", "ended 0s", "closed 500ms client greeted"}},
		{
			"panic", &service.Server{Greeter: panicking{}}, nil, func(*memnet.Conn) {},
			[]string{"accepted 0s", "admitted 0s", "ended 0s", "closed 0s visit_ended failed"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv, steps := tracedServer(test.server)
				settings := []func(*service.Listener){}
				if test.listen != nil {
					settings = append(settings, test.listen(t))
				}
				s := serve(t, srv, settings...)
				test.client(s.dial(t))
				time.Sleep(time.Minute)
				synctest.Wait()
				var want []string
				for _, step := range test.want {
					want = append(want, "1 "+step)
				}
				if got := steps.take(); !slices.Equal(got, want) {
					t.Errorf("steps\n%q, want\n%q", got, want)
				}
				for _, step := range steps.all {
					if (step.TLS != nil) != (step.Name == service.StepTLSHandshake) {
						t.Errorf("%s has TLS %v", step.Name, step.TLS)
					}
					if step.TLS != nil && (step.TLS.Version != tls.VersionTLS13 || step.TLS.ServerName != "greet.example") {
						t.Errorf("TLS %x for %q", step.TLS.Version, step.TLS.ServerName)
					}
					if step.Name == service.StepGreeting && step.Written == 0 {
						t.Error("no byte was written")
					}
				}
			})
		})
	}
}

// Why connections that linger are closed.
func TestCloseCauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, steps := tracedServer(&service.Server{MaxConns: 1, LingerTimeout: time.Hour})
		s := serve(t, srv)
		for range 2 {
			s.dial(t)
			synctest.Wait()
		}
		if got := steps.take(); !slices.Contains(got, "1 closed 0s place_needed greeted") {
			t.Errorf("%q", got)
		}
		_ = s.Close()
		if got := steps.take(); !slices.Equal(got, []string{"2 closed 0s shutdown greeted"}) {
			t.Errorf("%q", got)
		}
	})
}

// From the PROXY header on, steps have the client that it announced.
func TestStepsKnowTheClientBehindAProxy(t *testing.T) {
	client := netip.MustParseAddrPort("203.0.113.5:4711")
	synctest.Test(t, func(t *testing.T) {
		srv, steps := tracedServer(&service.Server{})
		s := serve(t, srv, func(ln *service.Listener) {
			ln.Unwrap = func(c net.Conn) (net.Conn, error) {
				return proxied{c, net.TCPAddrFromAddrPort(client), c.LocalAddr()}, nil
			}
		})
		proxy := s.dial(t).LocalAddr().String()
		time.Sleep(time.Minute)
		synctest.Wait()
		for i, step := range steps.all {
			if i == 0 && step.Remote.String() != proxy || i > 0 && (step.Remote != client || step.Proxy.String() != proxy) {
				t.Errorf("%s: %v via %v", step.Name, step.Remote, step.Proxy)
			}
		}
		if len(steps.all) != 6 {
			t.Errorf("%d steps", len(steps.all))
		}
	})
}

func TestTraceMayDecline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		s := serve(t, &service.Server{Trace: func(service.Peer) func(service.Step) { asked++; return nil }})
		s.dial(t)
		if v := s.only(t); v.Outcome != service.Greeted || asked != 1 {
			t.Errorf("%s, asked %d times", v.Outcome, asked)
		}
	})
}
