package service_test

import (
	"crypto/tls"
	"io"
	"net"
	"reflect"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"greetd.example/internal/test/memnet"
	"greetd.example/pkg/service"
)

// serveAll serves each listener, and the test closes srv at its end.
func serveAll(t *testing.T, srv *service.Server, listeners ...service.Listener) {
	t.Helper()
	for _, ln := range listeners {
		go func() { _ = srv.Serve(ln) }()
	}
	t.Cleanup(func() { _ = srv.Close() })
	synctest.Wait()
}

func dialMemory(t *testing.T, ln service.Listener) net.Conn {
	t.Helper()
	c, err := ln.Listener.(*memnet.Listener).Dial()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func readTLS(t *testing.T, ln service.Listener) string {
	t.Helper()
	return read(t, tls.Client(dialMemory(t, ln), &tls.Config{InsecureSkipVerify: true}))
}

const helloThere = "Hello there, 192.0.2.7!\n"

// As in net/http, what a listener does is what its own call of Serve says.
func TestUnnamedListenersHaveTheirOwnSettings(t *testing.T) {
	for name, order := range map[string][]int{"TLS first": {0, 1}, "TLS last": {1, 0}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				all := []service.Listener{
					{Listener: memnet.Listen("198.51.100.1:443")},
					{Listener: memnet.Listen("198.51.100.1:80")},
				}
				speakingTLS(t)(&all[0])
				srv := &service.Server{}
				serveAll(t, srv, all[order[0]], all[order[1]])
				for range 2 {
					if got := readTLS(t, all[0]); got != helloThere {
						t.Errorf("greeting by TLS = %q", got)
					}
					if got := read(t, dialMemory(t, all[1])); got != helloThere {
						t.Errorf("greeting in plain text = %q", got)
					}
					srv.Update(service.Settings{}, service.Listener{}) // has no name to find any by
				}
				if s := srv.Stats(); len(s) != 1 || s[0].Visits[service.Greeted] != 4 {
					t.Errorf("stats = %+v, want 4 of both together", s)
				}
			})
		})
	}
}

func TestUpdateIsForAllOfOneName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var encrypting service.Listener
		speakingTLS(t)(&encrypting)
		all := []service.Listener{
			{Listener: memnet.Listen("198.51.100.1:1"), Name: "mail"},
			{Listener: memnet.Listen("[2001:db8::1]:1"), Name: "mail"},
			{Listener: memnet.Listen("198.51.100.1:2"), Name: "other"},
			{Listener: memnet.Listen("198.51.100.1:3"), Name: "kept", TLS: encrypting.TLS},
		}
		srv := &service.Server{}
		serveAll(t, srv, all...)
		srv.Update(service.Settings{}, service.Listener{Name: "nobody"},
			service.Listener{Name: "mail"}, service.Listener{Name: "mail", TLS: encrypting.TLS})
		for i, encrypted := range []bool{true, true, false, true} {
			hear := func() string { return read(t, dialMemory(t, all[i])) }
			if encrypted {
				hear = func() string { return readTLS(t, all[i]) }
			}
			if got := hear(); got != helloThere {
				t.Errorf("greeting of listener %d, TLS %v: %q", i, encrypted, got)
			}
		}
		srv.Update(service.Settings{}, service.Listener{Name: "mail"})
		if got := read(t, dialMemory(t, all[1])); got != helloThere {
			t.Errorf("greeting after TLS was taken back = %q", got)
		}
	})
}

func TestUpdateBeforeServeReplacesTheFields(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &service.Server{Greeter: service.Static("fields\n")}
		srv.Update(service.Settings{Greeter: service.Static("settings\n")})
		s := serve(t, srv)
		if got := read(t, s.dial(t)); got != "settings\n" {
			t.Errorf("greeting = %q", got)
		}
	})
}

// Whatever else is asked first, the fields count that are set when Serve is called.
func TestFieldsMayChangeUntilServe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &service.Server{Greeter: service.Static("early\n"), WriteTimeout: time.Hour}
		if got := srv.Stats(); len(got) != 0 {
			t.Errorf("stats = %+v", got)
		}
		if err := srv.Alive(t.Context()); err != nil {
			t.Errorf("Alive without listeners = %v", err)
		}
		spoke := 0
		srv.Greeter, srv.WriteTimeout = service.Static("late\n"), time.Second
		srv.SpokeTLS = func(service.Peer) { spoke++ }
		s := serve(t, srv) // sets Observer
		c := s.dial(t)
		_, _ = io.WriteString(c, hello)
		_ = c.CloseWrite()
		if got := read(t, c); got != "late\n" {
			t.Errorf("greeting = %q", got)
		}
		if v := s.only(t); v.Outcome != service.Greeted || spoke != 1 {
			t.Errorf("outcome = %q, SpokeTLS was called %d times", v.Outcome, spoke)
		}
	})
}

// Settings and Server have the same fields, and Serve goes by each of them.
func TestSettingsAreFieldsOfServer(t *testing.T) {
	settings, server := reflect.TypeFor[service.Settings](), reflect.TypeFor[service.Server]()
	have := make(map[string]reflect.Type)
	for field := range settings.Fields() {
		have[field.Name] = field.Type
	}
	notUpdated := map[string]bool{"Observer": true, "SpokeTLS": true, "Trace": true}
	for field := range server.Fields() {
		if !field.IsExported() || notUpdated[field.Name] {
			continue
		}
		if have[field.Name] != field.Type {
			t.Errorf("Settings.%s is a %v, and Server's a %v", field.Name, have[field.Name], field.Type)
		}
		delete(have, field.Name)
	}
	if len(have) > 0 {
		t.Errorf("a Server has none of %v", have)
	}
}

func TestObserverFuncsMayBeNil(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var opened, closed int
		var trouble []string
		observers := service.Observers{service.ObserverFuncs{}, service.ObserverFuncs{
			OnOpened:       func(service.Peer) { opened++ },
			OnClosed:       func(service.Visit) { closed++ },
			OnAcceptFailed: func(listener string, _ error, _ time.Duration) { trouble = append(trouble, listener) },
		}}
		s := serve(t, &service.Server{Observer: observers})
		s.ln.Fail(syscall.EMFILE)
		read(t, s.dial(t))
		read(t, s.dial(t))
		synctest.Wait()
		if opened != 2 || closed != 2 || len(trouble) != 1 || trouble[0] != "greet" {
			t.Errorf("opened %d, closed %d, trouble at %q", opened, closed, trouble)
		}
	})
}
