package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"path/filepath"

	"greetd.example/internal/config"
	"greetd.example/internal/greeting"
	"greetd.example/internal/systemd"
	"greetd.example/pkg/service"
)

// manners are how clients are received by one configuration: all that
// service.Server.Update swaps in one step.
type manners struct {
	rules     *service.Server
	listeners []service.Listener // in the configuration's order, without sockets
}

// load reads the configuration and builds what it says. The error tells every
// problem, also those that only show when it is built.
func load(source config.Source) (config.Loaded, manners, error) {
	loaded, err := config.Load(source)
	if err != nil {
		return loaded, manners{}, err
	}
	m, err := newManners(loaded)
	return loaded, m, err
}

func newManners(loaded config.Loaded) (manners, error) {
	var problems []error
	greeter, err := greeting.Parse(loaded.Greeting)
	problems = append(problems, loaded.Problem("greeting", err))
	m := manners{rules: &service.Server{
		Greeter:          greeter,
		WriteTimeout:     loaded.Timeouts.Write,
		HandshakeTimeout: loaded.Timeouts.Handshake,
		LingerTimeout:    loaded.Timeouts.Linger,
		MaxConns:         loaded.Limits.Connections,
	}}
	if m.rules.LingerTimeout == 0 {
		m.rules.LingerTimeout = -1 // close at once
	}
	for i, l := range loaded.Listeners {
		settings, err := newTLS(l.TLS)
		problems = append(problems, loaded.Problem(fmt.Sprintf("listeners[%d].tls.certificate", i), err))
		m.listeners = append(m.listeners, service.Listener{Name: l.Name, TLS: settings})
		if len(l.ProxyTrusted) > 0 {
			problems = append(problems, loaded.Problem(fmt.Sprintf("listeners[%d].proxy_trusted", i), errNotYet))
		}
	}
	if len(loaded.Access.Allow) > 0 {
		problems = append(problems, loaded.Problem("access.allow", errNotYet))
	}
	if len(loaded.Access.Deny) > 0 {
		problems = append(problems, loaded.Problem("access.deny", errNotYet))
	}
	if loaded.Limits.PerSource.Connections > 0 {
		problems = append(problems, loaded.Problem("limits.per_source.connections", errNotYet))
	}
	if loaded.Limits.PerSource.Rate > 0 {
		problems = append(problems, loaded.Problem("limits.per_source.rate", errNotYet))
	}
	return m, errors.Join(problems...)
}

var errNotYet = errors.New("not yet supported: leave it out")

// newTLS is nil for a listener without TLS.
func newTLS(t config.TLS) (*tls.Config, error) {
	if t.Certificate == "" {
		return nil, nil //nolint:nilnil // no TLS is a setting like another
	}
	pair, err := tls.LoadX509KeyPair(credential(t.Certificate), credential(t.Key))
	if err != nil {
		return nil, err
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}, nil
}

// credential finds a file that LoadCredential= of the unit may have brought.
func credential(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(systemd.CredentialsDirectory(), path)
}
