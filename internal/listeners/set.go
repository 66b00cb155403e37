// Package listeners keeps the sockets that greetd accepts clients on, and moves from the
// sockets of one configuration to those of the next.
//
// A [Set] is what is served now. [Set.Prepare] makes a [Change]: it opens the sockets that
// are missing, and lets nobody in yet. Exactly one of [Change.Commit] and
// [Change.Rollback] must follow before the next Prepare:
//
//   - Commit can't fail. A socket that keeps its name is served without a pause. A socket
//     whose name changes keeps its backlog: no client is refused. An obsolete socket is
//     closed, and leaves systemd's fd store.
//   - Rollback closes what Prepare has opened. What was served before is still served, as
//     it was.
//
// One exception, because the kernel has it: where an obsolete socket holds an address that
// a new one needs (:10000 before 127.0.0.1:10000), Prepare closes the obsolete one first,
// and Rollback binds it again. Its clients in the backlog are lost.
//
// A listener that ends while nobody has closed it is reported on [Set.Broken].
package listeners

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"greetd.example/pkg/service"
	"greetd.example/pkg/systemd"
)

// A Listener is one socket that is served under one name. Several may share a name.
type Listener struct {
	Name    string
	Address string // the actual one, with the port that the system chose
	Origin  systemd.Origin
}

// String is the form of STATUS=: name, address and origin.
func (l Listener) String() string { return fmt.Sprintf("%s %s (%s)", l.Name, l.Address, l.Origin) }

// A Store keeps sockets across a restart: [systemd.Notifier].
type Store interface {
	Store(s systemd.Socket) error
	Forget(s systemd.Socket) error
}

// A Set is the listeners that are served. Its methods may be called from any goroutine,
// but there is one Change at a time.
type Set struct {
	hooks  Hooks
	broken chan error

	mu       sync.Mutex
	open     []*served
	settings []service.Listener // of the last Commit

	serving sync.WaitGroup
}

// Hooks are what a Set asks and reports to. All are needed.
type Hooks struct {
	Serve  func(service.Listener) error // [service.Server.Serve]
	Store  Store
	Opened func(Listener)
	Closed func(Listener)
	Warn   func(error) // the fd store does not have what it should have
}

// New returns a Set that serves nothing.
func New(h Hooks) *Set { return &Set{hooks: h, broken: make(chan error, 1)} }

// served is a Listener with what serves it.
type served struct {
	Listener
	socket    systemd.Socket
	revocable *revocableListener
	ended     chan struct{} // closed when Serve has returned
}

// Broken receives the reason when a listener ends that nobody closed. One is enough to
// stop for: further ones are not kept.
func (s *Set) Broken() <-chan error { return s.broken }

// Wait waits until nothing is served any more.
func (s *Set) Wait() { s.serving.Wait() }

// Listeners are those that are served now.
func (s *Set) Listeners() []Listener {
	var all []Listener
	for _, o := range s.all() {
		all = append(all, o.Listener)
	}
	return all
}

// Sockets are those that are served now, for [systemd.Assign].
func (s *Set) Sockets() []systemd.Socket {
	var sockets []systemd.Socket
	for _, o := range s.all() {
		sockets = append(sockets, o.socket)
	}
	return sockets
}

// serve serves socket with the settings of l. If it is served under that name already, it
// goes on as it is.
func (s *Set) serve(l service.Listener, socket systemd.Socket) {
	if old := s.find(socket); old != nil {
		if old.Name == l.Name || old.revocable.revoke() != nil {
			return
		}
		<-old.ended
		_ = old.revocable.SetDeadline(time.Time{})
		s.drop(old)
	}
	o := &served{
		Listener:  Listener{Name: l.Name, Address: addressOf(socket), Origin: socket.Origin},
		socket:    socket,
		revocable: &revocableListener{Socket: socket},
		ended:     make(chan struct{}),
	}
	s.mu.Lock()
	s.open = append(s.open, o)
	s.mu.Unlock()
	if err := s.hooks.Store.Store(socket); err != nil {
		s.hooks.Warn(fmt.Errorf("listener %s is not kept across a restart: %w", o.Name, err))
	}
	l.Listener = o.revocable
	s.serving.Go(func() { // Wait waits
		defer close(o.ended)
		err := s.hooks.Serve(l)
		if !errors.Is(err, net.ErrClosed) && !errors.Is(err, service.ErrClosed) {
			s.fail(fmt.Errorf("listener %s: %w", o.Name, err))
		}
	})
	s.hooks.Opened(o.Listener)
}

func (s *Set) fail(err error) {
	select {
	case s.broken <- err:
	default: // one is enough
	}
}

// remove closes socket for good. It returns what served it, nil if nothing did.
func (s *Set) remove(socket systemd.Socket) *served {
	if err := s.hooks.Store.Forget(socket); err != nil {
		s.hooks.Warn(fmt.Errorf("systemd may keep %s open: %w", addressOf(socket), err))
	}
	_ = socket.Remove()
	o := s.find(socket)
	if o == nil {
		return nil
	}
	<-o.ended
	s.drop(o)
	s.hooks.Closed(o.Listener)
	return o
}

// all is a copy of the list.
func (s *Set) all() []*served {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.open)
}

// find returns what serves socket, nil if nothing does.
func (s *Set) find(socket systemd.Socket) *served {
	for _, o := range s.all() {
		if o.socket.Listener == socket.Listener {
			return o
		}
	}
	return nil
}

func (s *Set) drop(o *served) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open = slices.DeleteFunc(s.open, func(other *served) bool { return other == o })
}

// settingsOf are the last committed settings of the listener of that name.
func (s *Set) settingsOf(name string) service.Listener {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.IndexFunc(s.settings, func(l service.Listener) bool { return l.Name == name }); i >= 0 {
		return s.settings[i]
	}
	return service.Listener{Name: name}
}

func addressOf(s systemd.Socket) string {
	if s.Listener == nil || strings.HasPrefix(s.Address, "unix:") {
		return s.Address
	}
	return s.Addr().String()
}
