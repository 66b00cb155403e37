package systemd

import (
	"context"
	"errors"
	"slices"
	"syscall"
)

// A Change replaces the listeners of a service by those of another configuration: all of them or
// none. It is for daemons that reload. Call Prepare, then apply the rest of the new configuration,
// and then call Commit if that was successful, else Rollback. A Change can also be used at the
// start, instead of Listen.
type Change struct {
	service  *Service
	configs  []ListenConfig
	serving  [][]openSocket // the sockets for each of configs
	bound    []openSocket
	obsolete []openSocket
	evicted  []*Listener // obsolete, and suspended: a new address could not be bound before they were closed
	undo     []func()    // restore the permissions of kept sockets
}

// Prepare chooses a socket for each of configs, among the sockets that systemd passed and those in
// use, and binds the missing ones. Nothing accepts on the new sockets yet, and the present
// listeners continue, with one exception. If an address can only be bound after an obsolete
// listener was closed (:10000 before 127.0.0.1:10000), that listener is closed. Its Accept waits
// for Commit, or for Rollback, which binds the address again.
//
// Sockets are assigned as by Listen, but for all configs at once. Any number of sockets may have
// the same name. Sockets without a name are assigned to the only listener. Every socket of a socket
// unit must have a listener, and every listener a socket. A socket that this service has bound is
// found by its Address and ReusePort, not by its name, so a listener may be renamed.
//
// If Prepare returns an error, nothing has changed. The error has all reasons, and wraps a
// [BindError] if the system refused an address. If it returns no error, Commit or Rollback must
// follow before the next Prepare.
func (s *Service) Prepare(ctx context.Context, configs []ListenConfig) (*Change, error) {
	s.changing.Lock()
	defer s.changing.Unlock()
	if s.change != nil {
		return nil, errors.New("a change of the listeners is under way: commit it or roll it back first")
	}
	if err := s.wrapPassed(); err != nil {
		return nil, err
	}
	sockets := slices.Clone(s.passed)
	for _, l := range s.Listeners() {
		if !l.closed.Load() {
			sockets = append(sockets, l.current())
		}
	}
	assigned, err := assign(configs, sockets)
	if err != nil {
		return nil, err
	}
	c := &Change{service: s, configs: slices.Clone(configs), serving: assigned.Serving, obsolete: assigned.Obsolete}
	var problems []error
	for i, config := range configs {
		if err := c.provide(ctx, i, config); err != nil {
			problems = append(problems, &BindError{Name: config.Name, Err: err})
		}
	}
	if len(problems) > 0 {
		c.rollback(ctx)
		return nil, errors.Join(problems...)
	}
	s.change = c
	return c, nil
}

// provide makes sure that there is a socket for config.
func (c *Change) provide(ctx context.Context, i int, config ListenConfig) error {
	for _, socket := range c.serving[i] {
		if !socket.isOwn() {
			continue
		}
		undo, err := socket.reconfigure(config)
		c.undo = append(c.undo, undo)
		if err != nil {
			return err
		}
	}
	if len(c.serving[i]) > 0 {
		return nil
	}
	sockets, err := c.bind(ctx, config)
	c.bound = append(c.bound, sockets...)
	c.serving[i] = sockets
	return err
}

// bind binds config. If obsolete sockets of this service hold the address, such as :10000 before
// 127.0.0.1:10000, it closes these first.
func (c *Change) bind(ctx context.Context, config ListenConfig) ([]openSocket, error) {
	s := c.service
	sockets, err := s.bindAll(ctx, config, c.configs)
	if errors.Is(err, syscall.EADDRINUSE) && len(c.obsolete) > 0 {
		for _, o := range c.obsolete {
			if l := s.serving(o); l != nil {
				l.suspend()
				c.evicted = append(c.evicted, l)
			}
			s.discard(o)
			s.passed = without(s.passed, o)
		}
		c.obsolete = nil
		sockets, err = s.bindAll(ctx, config, c.configs)
	}
	return sockets, err
}

// Commit applies the change, and cannot fail. It returns the new listeners, in the order of
// configs, which the caller has to serve, and the listeners that have ended: their Accept returns
// net.ErrClosed. A listener whose name has changed is in both lists: the clients in the backlog
// wait for the new one. Listeners that are in neither list continue unchanged.
func (c *Change) Commit() (opened, ended []*Listener) {
	s := c.service
	s.changing.Lock()
	defer s.changing.Unlock()
	s.change, s.passed = nil, nil
	for _, l := range c.evicted {
		l.finish()
		s.drop(l)
	}
	ended = c.evicted
	for _, socket := range c.obsolete { // before the new one is stored, which may have the same name
		l := s.serving(socket)
		if l != nil {
			l.finish()
			s.drop(l)
			ended = append(ended, l)
		}
		s.discard(socket)
	}
	for i, config := range c.configs {
		for _, socket := range c.serving[i] {
			if socket.isOwn() {
				socket.deferAccept(config.DeferAccept)
			}
			old := s.serving(socket)
			if old != nil && (old.name == config.Name || old.release() != nil) {
				continue
			}
			if old != nil {
				s.drop(old)
				ended = append(ended, old)
			}
			opened = append(opened, s.add(config.Name, socket))
		}
	}
	return opened, ended
}

// Rollback undoes what Prepare did. If the address of a listener that Prepare closed cannot be
// bound again, Accept of this listener returns a [BindError].
func (c *Change) Rollback(ctx context.Context) {
	c.service.changing.Lock()
	defer c.service.changing.Unlock()
	c.service.change = nil
	c.rollback(ctx)
}

func (c *Change) rollback(ctx context.Context) {
	s := c.service
	for _, undo := range c.undo {
		undo()
	}
	removeAll(c.bound)
	for _, l := range c.evicted {
		old := l.current()
		config := ListenConfig{Name: l.name, Address: old.Address, ReusePort: old.ReusePort}
		if isHostName(config.Address) {
			config.Address = old.Addr().String() // the one of its addresses that l has
		}
		sockets, err := s.bindAll(ctx, config, nil)
		if err != nil {
			l.resume(openSocket{}, &BindError{Name: l.name, Err: err})
			continue
		}
		sockets[0].Address = old.Address
		s.keep(l.name, sockets[0])
		l.resume(sockets[0], nil)
	}
}

func (s *Service) serving(socket openSocket) *Listener {
	for _, l := range s.Listeners() {
		if l.current().Listener == socket.Listener {
			return l
		}
	}
	return nil
}
