package listeners

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"greetd.example/pkg/service"
	"greetd.example/pkg/systemd"
)

// A Change leads from what a Set serves to what a new configuration wants.
type Change struct {
	set      *Set
	serving  [][]systemd.Socket // for each listener of the configuration
	bound    []systemd.Socket
	obsolete []systemd.Socket
	evicted  []*served // obsolete and closed already, to make room for a bind
}

// Prepare binds what nothing serves in an assignment of sockets to wants. The error names
// every listener that could not be bound; then everything is as it was. Without an error,
// Commit or Rollback must follow.
func (s *Set) Prepare(ctx context.Context, wants []systemd.Want, assigned systemd.Assignment) (*Change, error) {
	c := &Change{set: s, serving: assigned.Serving, obsolete: assigned.Obsolete}
	var problems []error
	for i, want := range wants {
		if len(c.serving[i]) > 0 {
			continue
		}
		socket, err := c.bind(ctx, want)
		if err != nil {
			problems = append(problems, fmt.Errorf("listener %s: %w", want.Name, err))
			continue
		}
		c.bound = append(c.bound, socket)
		c.serving[i] = []systemd.Socket{socket}
	}
	if len(problems) > 0 {
		c.Rollback(ctx)
		return nil, errors.Join(problems...)
	}
	return c, nil
}

// bind binds want. If its address is in use, obsolete sockets may be what uses it: they
// are closed, and it tries again.
func (c *Change) bind(ctx context.Context, want systemd.Want) (systemd.Socket, error) {
	socket, err := systemd.Bind(ctx, want.Address, want.ReusePort)
	if !errors.Is(err, syscall.EADDRINUSE) || len(c.obsolete) == 0 {
		return socket, err
	}
	for _, o := range c.obsolete {
		if closed := c.set.remove(o); closed != nil {
			c.evicted = append(c.evicted, closed)
		}
	}
	c.obsolete = nil
	return systemd.Bind(ctx, want.Address, want.ReusePort)
}

// Rollback undoes Prepare. A listener that can't be bound again is reported on Broken.
func (c *Change) Rollback(ctx context.Context) {
	for _, s := range c.bound {
		_ = s.Remove()
	}
	for _, e := range c.evicted {
		socket, err := systemd.Bind(ctx, e.socket.Address, e.socket.ReusePort)
		if err != nil {
			c.set.fail(fmt.Errorf("listener %s: open it again: %w", e.Name, err))
			continue
		}
		c.set.serve(c.set.settingsOf(e.Name), socket)
	}
}

// Commit serves the sockets of the change with settings, which are in the order of
// Prepare's wants and have no net.Listener, and closes the obsolete ones.
func (c *Change) Commit(settings []service.Listener) {
	c.set.mu.Lock()
	c.set.settings = settings
	c.set.mu.Unlock()
	for _, s := range c.obsolete {
		c.set.remove(s)
	}
	for i, l := range settings {
		for _, s := range c.serving[i] {
			c.set.serve(l, s)
		}
	}
}
