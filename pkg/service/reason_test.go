package service_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"greetd.example/internal/test/memnet"
	"greetd.example/pkg/service"
)

// reasoned is an error of Admit or Unwrap that says its Reason.
type reasoned service.Reason

func (r reasoned) Error() string          { return string(r) }
func (r reasoned) Reason() service.Reason { return service.Reason(r) }

// awaitByte reads a byte, as an Unwrap reads a PROXY header.
func awaitByte(c net.Conn) (net.Conn, error) {
	_, err := c.Read(make([]byte, 1))
	return c, err
}

func admitting(err error) *service.Server {
	return &service.Server{Admit: func(service.Peer) (func(), error) { return nil, err }}
}

func unwrapping(unwrap func(net.Conn) (net.Conn, error)) func(*testing.T) func(*service.Listener) {
	return func(*testing.T) func(*service.Listener) {
		return func(ln *service.Listener) { ln.Unwrap = unwrap }
	}
}

func refusing(err error) func(*testing.T) func(*service.Listener) {
	return unwrapping(func(net.Conn) (net.Conn, error) { return nil, fmt.Errorf("header: %w", err) })
}

// greetings that come to nothing.
type (
	failing   struct{}
	panicking struct{}
	leaving   struct{}
)

func (failing) AppendGreeting(dst []byte, _ service.Peer) ([]byte, error) {
	return dst, errors.New("no greeting")
}
func (panicking) AppendGreeting([]byte, service.Peer) ([]byte, error) { panic("mouth") }
func (leaving) AppendGreeting(dst []byte, _ service.Peer) ([]byte, error) {
	runtime.Goexit()
	return dst, nil
}

func TestReasons(t *testing.T) {
	long := &service.Server{Greeter: service.Static(strings.Repeat("x", 2*memnet.Window))}
	hangUp := func(c *memnet.Conn) { _ = c.Close() }
	wait := func(*memnet.Conn) {}
	plain := func(c *memnet.Conn) { _, _ = io.WriteString(c, "GET / HTTP/1.1\r\n\r\n") }
	distrust := func(c *memnet.Conn) { _ = tls.Client(c, &tls.Config{ServerName: "greet.example"}).Handshake() }
	outdated := func(c *memnet.Conn) {
		_ = tls.Client(c, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}).Handshake()
	}
	late := func(c *memnet.Conn) { // after the server's certificate, and without a word
		go func() {
			_ = tls.Client(c, &tls.Config{InsecureSkipVerify: true, VerifyConnection: func(tls.ConnectionState) error { _ = c.Close(); return io.EOF }}).Handshake()
		}()
	}
	// Of the first two there are other tests, and the third needs a kernel.
	made := map[string]bool{"cut shutdown": true, "timed_out server_full": true, "failed system": true}
	for _, test := range []struct {
		name   string
		server *service.Server
		listen func(*testing.T) func(*service.Listener) // nil: in plain text
		client func(*memnet.Conn)
		want   string
	}{
		{"denied", admitting(errors.New("no")), nil, wait, "refused denied"},
		{"over a limit", admitting(reasoned("over_limit")), nil, wait, "refused over_limit"},
		{"for a reason that nobody knows", admitting(reasoned("moon")), nil, wait, "refused denied"},
		{"for a reason of other outcomes", admitting(reasoned("shutdown")), nil, wait, "refused denied"},
		{"no header", &service.Server{}, refusing(io.ErrNoProgress), wait, "refused no_proxy_header"},
		{"a bad header", &service.Server{}, refusing(reasoned("bad_proxy_header")), wait, "refused bad_proxy_header"},
		{"gone before the header", &service.Server{}, unwrapping(awaitByte), hangUp, "hung_up no_proxy_header"},
		{"silent before the header", &service.Server{}, unwrapping(awaitByte), wait, "timed_out no_proxy_header"},
		{"no TLS", &service.Server{}, speakingTLS, plain, "refused tls_client"},
		{"old TLS", &service.Server{}, speakingTLS, outdated, "refused tls_client"},
		{"distrust", &service.Server{}, speakingTLS, distrust, "refused tls_ours"},
		{"gone in the handshake", &service.Server{}, speakingTLS, hangUp, "hung_up tls_client"},
		{"gone after the certificate", &service.Server{}, speakingTLS, late, "hung_up tls_client"},
		{"silent in the handshake", &service.Server{}, speakingTLS, wait, "timed_out tls_client"},
		{"gone in the greeting", long, nil, hangUp, "hung_up client_left"},
		{"does not read", long, nil, wait, "timed_out slow_client"},
		{"no greeting", &service.Server{Greeter: failing{}}, nil, wait, "failed greeting"},
		{"panic", &service.Server{Greeter: panicking{}}, nil, wait, "failed panic"},
		{"panic in Unwrap", &service.Server{}, unwrapping(func(net.Conn) (net.Conn, error) { panic("hand") }), wait, "failed panic"},
		{"exit", &service.Server{Greeter: leaving{}}, nil, wait, "failed panic"},
		{"greeted", &service.Server{}, nil, wait, "greeted "},
		{"greeted over TLS", &service.Server{}, speakingTLS, func(c *memnet.Conn) {
			_ = tls.Client(c, &tls.Config{InsecureSkipVerify: true}).Handshake()
		}, "greeted "},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := &service.Server{Greeter: test.server.Greeter, Admit: test.server.Admit}
				settings := []func(*service.Listener){}
				if test.listen != nil {
					settings = append(settings, test.listen(t))
				}
				s := serve(t, srv, settings...)
				test.client(s.dial(t))
				time.Sleep(time.Minute)
				v := s.only(t)
				if got := string(v.Outcome) + " " + string(v.Reason); got != test.want {
					t.Errorf("%s, want %s: %v", got, test.want, v.Err)
				}
				var counted []string
				for outcome, reasons := range s.stats(t).Reasons {
					for reason, n := range reasons {
						if n != 0 {
							counted = append(counted, fmt.Sprintf("%s %s", outcome, reason))
						}
					}
				}
				want := []string{test.want}
				if v.Outcome == service.Greeted {
					want = nil
				}
				if !slices.Equal(counted, want) {
					t.Errorf("counted %q, want %q", counted, want)
				}
			})
		})
		made[test.want] = true
	}
	for _, outcome := range service.Outcomes() {
		for _, reason := range outcome.Reasons() {
			if pair := string(outcome) + " " + string(reason); !made[pair] {
				t.Errorf("no test makes %s", pair)
			}
		}
	}
}

func TestReasonOfACutVisit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, &service.Server{}, unwrapping(awaitByte)(t))
		s.dial(t)
		synctest.Wait()
		_ = s.Close()
		if v := s.only(t); v.Outcome != service.Cut || v.Reason != service.ReasonShutdown {
			t.Errorf("%s %s", v.Outcome, v.Reason)
		}
		if n := s.stats(t).Reasons[service.Cut][service.ReasonShutdown]; n != 1 {
			t.Errorf("%d counted", n)
		}
	})
}
