// Package listeners serves the sockets of [systemd.Service] with the server of greetd, each socket with
// the settings that the configuration has for its name.
//
// [systemd.Service.Prepare] decides which socket belongs to which listener, and what a new configuration
// changes. The served listeners do not change until [Set.Commit], which can't fail. A listener that stays
// is served without a pause. If a socket gets another name, the clients in its backlog are served under
// the new name. A listener that ends without having been closed is reported on [Set.Broken].
package listeners

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"

	"greetd.example/pkg/service"
	"greetd.example/pkg/systemd"
)

// Hooks are the functions that a Set calls. All of them are required. Closed is called by the goroutine that
// has served the listener. Several goroutines can call it at once.
type Hooks struct {
	Serve  func(service.Listener) error // [service.Server.Serve]
	Opened func(*systemd.Listener)      // the listener is served now
	Closed func(*systemd.Listener)      // the listener is not served any more
}

var errEnded = errors.New("it is served no longer")

// A Set has the listeners that are served.
type Set struct {
	hooks   Hooks
	broken  chan error
	running sync.WaitGroup

	mu      sync.Mutex // held during Commit
	serving map[*systemd.Listener]*serving
}

type serving struct {
	done chan struct{} // closed when Serve has returned
	err  error         // the error that Serve has returned
}

// New returns a Set that serves nothing yet.
func New(h Hooks) *Set {
	return &Set{hooks: h, broken: make(chan error, 1), serving: make(map[*systemd.Listener]*serving)}
}

// Commit commits the change, and serves each new listener with the settings that have its name. The
// settings have no net.Listener. When Commit returns, the listeners that the change has closed are not
// served any more. Only one goroutine may call it at a time.
func (s *Set) Commit(change *systemd.Change, settings []service.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	opened, ended := change.Commit()
	for _, l := range ended {
		<-s.serving[l].done
		delete(s.serving, l)
	}
	for _, l := range opened {
		i := slices.IndexFunc(settings, func(named service.Listener) bool { return named.Name == l.Name() })
		served := settings[i]
		served.Listener = l
		s.start(l, served)
		s.hooks.Opened(l)
	}
}

// start serves l. s.mu is held.
func (s *Set) start(l *systemd.Listener, served service.Listener) {
	this := &serving{done: make(chan struct{})}
	s.serving[l] = this
	s.running.Go(func() { // Wait waits
		this.err = s.hooks.Serve(served)
		s.hooks.Closed(l)
		close(this.done)
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.serving[l] != this { // Commit has closed it
			return
		}
		if err := problem(l, this.err); err != nil {
			select {
			case s.broken <- err:
			default: // one is enough
			}
		}
	})
}

// problem returns the error to report after Serve of l has returned err; nil if the server shuts down.
func problem(l *systemd.Listener, err error) error {
	if errors.Is(err, service.ErrClosed) {
		return nil
	}
	if refused := (*systemd.BindError)(nil); errors.As(err, &refused) { // its text has the name of the listener
		return err
	}
	return fmt.Errorf("listener %s: %w", l.Name(), cmp.Or(err, errEnded))
}

// Check returns nil while every listener that Commit has opened is served, and also when the server shuts
// down. Otherwise its error names the listeners that are not served, with the reasons.
func (s *Set) Check() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var problems []error
	for l, serving := range s.serving {
		select {
		case <-serving.done:
			problems = append(problems, problem(l, serving.err))
		default:
		}
	}
	return errors.Join(problems...)
}

// Broken returns a channel that receives the error of a listener that ended without having been closed.
// One error is enough to stop the daemon, so only the first one is kept.
func (s *Set) Broken() <-chan error { return s.broken }

// Wait waits until no listener is served any more.
func (s *Set) Wait() { s.running.Wait() }
