package systemd

import (
	"context"
	"errors"
	"slices"
	"syscall"
)

// A Change is how the listeners of a service become those of another configuration, all
// of them or none. It is for daemons that reload: Prepare, then, when the rest of the
// new configuration has been applied too, Commit, or else Rollback. At a start it is
// used in the same way, instead of Listen.
type Change struct {
	service  *Service
	configs  []ListenConfig
	serving  [][]openSocket // for each of configs
	bound    []openSocket
	obsolete []openSocket
	evicted  []*Listener // obsolete, and suspended: something could not be bound beside them
	undo     []func()    // restore the permissions of kept sockets
}

// Prepare decides which sockets serve configs, among those that systemd passed and those
// in use, and binds what is missing. Nobody accepts there yet, and what is in use stays in
// use, with one exception: where an address can only be bound once a listener that has
// become obsolete is closed (:10000 before 127.0.0.1:10000), that one waits, without a
// socket, for Commit, or for Rollback, which binds it again.
//
// Sockets are assigned as Listen does it, but all at once: any number may have one name,
// those without a name go to the only listener, every socket of a socket unit must have a
// listener, and every listener a socket. A socket that this service bound is found again
// by Address and ReusePort, whatever its name: a listener may be renamed.
//
// With an error everything is as it was; it says all the reasons. A [BindError] is in it if
// the system refused an address. Without, Commit or Rollback must follow, and there is no
// second Prepare before.
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
		if !l.isClosed() {
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
	socket, err := c.bind(ctx, config)
	if err != nil {
		return err
	}
	c.bound = append(c.bound, socket)
	c.serving[i] = []openSocket{socket}
	return nil
}

// bind binds config. Where obsolete sockets of our own may hold the address, such as
// :10000 before 127.0.0.1:10000, those go first.
func (c *Change) bind(ctx context.Context, config ListenConfig) (openSocket, error) {
	s := c.service
	socket, err := s.bindWrapped(ctx, config)
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
		socket, err = s.bindWrapped(ctx, config)
	}
	return socket, err
}

// Commit applies the change, and can't fail. It returns the listeners that are new, for the
// caller to serve, in the order of configs, and those that have ended: their Accept returns
// net.ErrClosed. A listener that has only a new name is among both: the clients in its
// backlog wait for the new one. Whatever is in neither goes on as it is.
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

// Rollback undoes what Prepare did. A listener that had to wait and can't be bound again
// fails: its Accept returns a [BindError].
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
	for _, socket := range c.bound {
		_ = socket.Remove()
	}
	for _, l := range c.evicted {
		old := l.current()
		socket, err := s.bindWrapped(ctx, ListenConfig{Name: l.name, Address: old.Address, ReusePort: old.ReusePort})
		if err != nil {
			err = &BindError{Name: l.name, Err: err}
		} else {
			s.keep(l.name, socket)
		}
		l.resume(socket, err)
	}
}

// serving is the listener on socket, or nil.
func (s *Service) serving(socket openSocket) *Listener {
	for _, l := range s.Listeners() {
		if l.current().Listener == socket.Listener {
			return l
		}
	}
	return nil
}

func (s *Service) drop(l *Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open = slices.DeleteFunc(s.open, func(other *Listener) bool { return other == l })
}

func without(sockets []openSocket, socket openSocket) []openSocket {
	return slices.DeleteFunc(sockets, func(other openSocket) bool {
		return other.Listener == socket.Listener && other.Name == socket.Name
	})
}
