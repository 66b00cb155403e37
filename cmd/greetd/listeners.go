package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"greetd.example/internal/config"
	"greetd.example/internal/logging"
	"greetd.example/pkg/service"
	"greetd.example/pkg/systemd"
)

// A post is one socket that is served under one listener's name.
type post struct {
	name   string
	socket systemd.Socket
	lease  *lease
	ended  chan struct{} // closed when Serve has returned
}

// A lease is a socket while it is served under one name. Released, it ends Serve
// and leaves the socket open, with its backlog, for the next name.
type lease struct {
	systemd.Socket
	released atomic.Bool
}

// Accept implements net.Listener.
func (l *lease) Accept() (net.Conn, error) {
	if l.released.Load() {
		return nil, net.ErrClosed
	}
	c, err := l.Socket.Accept()
	if err != nil && l.released.Load() {
		return nil, net.ErrClosed
	}
	return c, err
}

// Close implements net.Listener.
func (l *lease) Close() error {
	if l.released.Load() {
		return nil
	}
	return l.Socket.Close()
}

// SetDeadline interrupts Accept.
func (l *lease) SetDeadline(t time.Time) error {
	d, ok := l.Listener.(interface{ SetDeadline(time.Time) error })
	if !ok {
		return errors.ErrUnsupported
	}
	return d.SetDeadline(t)
}

func (l *lease) release() error {
	l.released.Store(true)
	return l.SetDeadline(time.Unix(1, 0))
}

// posts are the sockets that are served.
type posts struct {
	server *service.Server
	log    *logging.Log
	notify *systemd.Notifier
	broken chan error // why a listener ended that nobody closed

	mu        sync.Mutex
	open      []*post
	listeners []service.Listener // as they were carried out last
	serving   sync.WaitGroup
}

// A plan is how the posts become those of a new configuration. What it has bound is
// open, but nobody accepts there yet.
type plan struct {
	posts    *posts
	serving  [][]systemd.Socket // for each listener
	bound    []systemd.Socket
	obsolete []systemd.Socket
	evicted  []*post // obsolete, and gone already, since something could not be bound beside them
}

// prepare assigns the sockets that are there to the listeners of c, and binds what
// is missing. With an error everything is as it was, else carryOut or abandon must
// follow.
func (ps *posts) prepare(ctx context.Context, c config.Config, sockets []systemd.Socket) (*plan, error) {
	var wants []systemd.Want
	for _, l := range c.Listeners {
		wants = append(wants, systemd.Want{Name: l.Name, Address: l.Address, ReusePort: l.ReusePort})
	}
	assigned, err := systemd.Assign(wants, sockets)
	if err != nil {
		return nil, coded{exitConfig, err}
	}
	p := &plan{posts: ps, serving: assigned.Serving, obsolete: assigned.Obsolete}
	var problems []error
	for i, want := range wants {
		if len(p.serving[i]) > 0 {
			continue
		}
		socket, err := p.bind(ctx, want)
		if err != nil {
			problems = append(problems, fmt.Errorf("listener %s: %w", want.Name, err))
			continue
		}
		p.bound = append(p.bound, socket)
		p.serving[i] = []systemd.Socket{socket}
	}
	if len(problems) > 0 {
		p.abandon(ctx)
		return nil, coded{exitSystem, errors.Join(problems...)}
	}
	return p, nil
}

// bind binds want. Where obsolete sockets of our own may hold the address, such as
// :10000 before 127.0.0.1:10000, those go first.
func (p *plan) bind(ctx context.Context, want systemd.Want) (systemd.Socket, error) {
	socket, err := systemd.Bind(ctx, want.Address, want.ReusePort)
	if !errors.Is(err, syscall.EADDRINUSE) || len(p.obsolete) == 0 {
		return socket, err
	}
	for _, o := range p.obsolete {
		if gone := p.posts.remove(o); gone != nil {
			p.evicted = append(p.evicted, gone)
		}
	}
	p.obsolete = nil
	return systemd.Bind(ctx, want.Address, want.ReusePort)
}

// abandon undoes what prepare did.
func (p *plan) abandon(ctx context.Context) {
	for _, s := range p.bound {
		_ = s.Remove()
	}
	for _, gone := range p.evicted {
		socket, err := systemd.Bind(ctx, gone.socket.Address, gone.socket.ReusePort)
		if err != nil {
			p.posts.broke(fmt.Errorf("listener %s: open it again: %w", gone.name, err))
			continue
		}
		p.posts.serve(p.posts.manners(gone.name), socket)
	}
}

// carryOut makes the plan true, and can't fail. listeners are in the order of the
// configuration.
func (p *plan) carryOut(listeners []service.Listener) {
	p.posts.mu.Lock()
	p.posts.listeners = listeners
	p.posts.mu.Unlock()
	for _, s := range p.obsolete {
		p.posts.remove(s)
	}
	for i, l := range listeners {
		for _, s := range p.serving[i] {
			p.posts.serve(l, s)
		}
	}
}

// serve makes clients of s be received as l says. If it is served under that name
// already, it goes on as it is.
func (ps *posts) serve(l service.Listener, s systemd.Socket) {
	if old := ps.of(s); old != nil {
		if old.name == l.Name || old.lease.release() != nil {
			return
		}
		<-old.ended
		_ = old.lease.SetDeadline(time.Time{})
		ps.drop(old)
	}
	p := &post{name: l.Name, socket: s, lease: &lease{Socket: s}, ended: make(chan struct{})}
	ps.mu.Lock()
	ps.open = append(ps.open, p)
	ps.mu.Unlock()
	if err := ps.notify.Store(s); err != nil {
		ps.log.Event(logging.ConfigWarning, fmt.Sprintf("listener %s is not kept across a restart: %v", p.name, err))
	}
	l.Listener = p.lease
	ps.serving.Go(func() { // wait waits
		defer close(p.ended)
		err := ps.server.Serve(l)
		if !errors.Is(err, net.ErrClosed) && !errors.Is(err, service.ErrClosed) {
			ps.broke(fmt.Errorf("listener %s: %w", p.name, err))
		}
	})
	ps.tell(logging.ListenerOpened, p, "takes clients at")
}

func (ps *posts) broke(err error) {
	select {
	case ps.broken <- err:
	default: // one is enough to end
	}
}

// remove ends s for good, and returns the post that it had, if any.
func (ps *posts) remove(s systemd.Socket) *post {
	if err := ps.notify.Forget(s); err != nil {
		ps.log.Event(logging.ConfigWarning, fmt.Sprintf("systemd may keep %s open: %v", addressOf(s), err))
	}
	_ = s.Remove()
	p := ps.of(s)
	if p == nil {
		return nil
	}
	<-p.ended
	ps.drop(p)
	ps.tell(logging.ListenerClosed, p, "takes no more clients at")
	return p
}

func (ps *posts) tell(e logging.Event, p *post, what string) {
	address := addressOf(p.socket)
	ps.log.Event(e, fmt.Sprintf("listener %s %s %s (%s)", p.name, what, address, p.socket.Origin),
		logging.F("listener", p.name), logging.F("address", address), logging.F("origin", string(p.socket.Origin)))
}

// wait waits until nothing is served any more.
func (ps *posts) wait() { ps.serving.Wait() }

// all is a copy of the list.
func (ps *posts) all() []*post {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	return slices.Clone(ps.open)
}

// sockets are those that are served.
func (ps *posts) sockets() []systemd.Socket {
	var sockets []systemd.Socket
	for _, p := range ps.all() {
		sockets = append(sockets, p.socket)
	}
	return sockets
}

func (ps *posts) of(s systemd.Socket) *post {
	for _, p := range ps.all() {
		if p.socket.Listener == s.Listener {
			return p
		}
	}
	return nil
}

func (ps *posts) drop(p *post) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	ps.open = slices.DeleteFunc(ps.open, func(other *post) bool { return other == p })
}

func (ps *posts) manners(name string) service.Listener {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	for _, l := range ps.listeners {
		if l.Name == name {
			return l
		}
	}
	return service.Listener{Name: name}
}

// describe says for each socket where it came from, for STATUS=.
func (ps *posts) describe() string {
	var all []string
	for _, p := range ps.all() {
		all = append(all, fmt.Sprintf("%s %s (%s)", p.name, addressOf(p.socket), p.socket.Origin))
	}
	return strings.Join(all, ", ")
}

// addressOf is the actual address, with the port that the system chose.
func addressOf(s systemd.Socket) string {
	if s.Listener == nil || strings.HasPrefix(s.Address, "unix:") {
		return s.Address
	}
	return s.Addr().String()
}
