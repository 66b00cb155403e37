package main

import (
	"fmt"

	"greetd.example/internal/access"
	"greetd.example/internal/config"
	"greetd.example/internal/greeting"
	"greetd.example/internal/proxyproto"
	"greetd.example/pkg/service"
)

// manners are how clients are received by one configuration: all that
// service.Server.Update swaps in one step.
type manners struct {
	rules     *service.Server
	listeners []service.Listener // in the configuration's order, without sockets
	list      *access.List
	limits    access.Limits
}

// admission makes the rules ask the lists, and then sources, which outlive a reload.
func (m manners) admission(sources *access.Sources) {
	sources.Update(m.limits)
	limited := m.limits.Connections > 0 || m.limits.Rate > 0
	switch {
	case m.list == nil && !limited:
		m.rules.Admit = nil
	case m.list == nil:
		m.rules.Admit = sources.Admit
	default:
		m.rules.Admit = func(p service.Peer) (func(), error) {
			if err := m.list.Check(p); err != nil {
				return nil, err
			}
			return sources.Admit(p)
		}
	}
}

// load reads the configuration and builds what it says. The error tells every
// problem, also those that only show when it is built.
func load(source config.Source) (loaded config.Loaded, m manners, err error) {
	source.Check = func(c config.Config, wrong func(string, error)) { m = newManners(c, wrong) }
	loaded, err = config.Load(source)
	return loaded, m, err
}

func newManners(c config.Config, wrong func(key string, err error)) manners {
	m := manners{rules: &service.Server{
		WriteTimeout:     c.Timeouts.Write,
		HandshakeTimeout: c.Timeouts.Handshake,
		LingerTimeout:    c.Timeouts.Linger,
		MaxConns:         c.Limits.Connections,
	}}
	if m.rules.LingerTimeout == 0 {
		m.rules.LingerTimeout = -1 // close at once
	}
	m.rules.Greeter = newGreeter(c, wrong)
	for i, l := range c.Listeners {
		m.listeners = append(m.listeners, service.Listener{
			Name:   l.Name,
			Unwrap: proxyproto.Unwrap(l.ProxyTrusted),
			TLS:    newTLS(fmt.Sprintf("listeners[%d]", i), l.TLS, wrong),
		})
	}
	if len(c.Access.Allow)+len(c.Access.Deny) > 0 {
		m.list = access.New(c.Access.Allow, c.Access.Deny)
	}
	m.limits = access.Limits{
		Connections: c.Limits.PerSource.Connections, Rate: c.Limits.PerSource.Rate, Burst: c.Limits.PerSource.Burst,
		IPv4Prefix: c.Limits.PerSource.IPv4Prefix, IPv6Prefix: c.Limits.PerSource.IPv6Prefix,
	}
	return m
}

// newGreeter parses the template, from wherever it is. It is nil where something is
// wrong.
func newGreeter(c config.Config, wrong func(key string, err error)) service.Greeter {
	key, text := "greeting", c.Greeting
	if c.GreetingFile != "" {
		content, err := readNamed(c.GreetingFile, greeting.MaxLength)
		if err != nil {
			wrong("greeting_file", fmt.Errorf("%s %w", c.GreetingFile, err))
			return nil
		}
		key, text = "greeting_file", string(content)
	}
	greeter, err := greeting.Parse(text)
	if err != nil {
		wrong(key, err)
		return nil
	}
	if text, ok := greeter.Fixed(); ok {
		return text // not a copy for each who reads it slowly
	}
	return greeter
}
