// Package listeners serves the sockets of [systemd.Service] with greetd's server, each
// under the settings that the configuration has for its name.
//
// Which socket belongs to which listener, and the way from one configuration to the next,
// is decided by [systemd.Service.Prepare]: nothing that is served changes until
// [Set.Commit], which can't fail. A listener that stays is served without a pause. Where a
// socket gets another name, the clients in its backlog wait for the new one. A listener that
// ends while nobody has closed it is reported on [Set.Broken].
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

// Hooks are what a Set calls. All are needed. Closed is called by the goroutine that has
// served the listener, thus by several at once when all end.
type Hooks struct {
	Serve  func(service.Listener) error // [service.Server.Serve]
	Opened func(*systemd.Listener)      // it is served now
	Closed func(*systemd.Listener)      // it is served no longer
}

var errEnded = errors.New("it is served no longer")

// A Set is the listeners that are served.
type Set struct {
	hooks   Hooks
	broken  chan error
	running sync.WaitGroup

	mu      sync.Mutex // held during Commit
	serving map[*systemd.Listener]*serving
}

// serving is one call of Serve.
type serving struct {
	done chan struct{} // closed when Serve has returned
	err  error         // what it has returned
}

// New returns a Set that serves nothing yet.
func New(h Hooks) *Set {
	return &Set{hooks: h, broken: make(chan error, 1), serving: make(map[*systemd.Listener]*serving)}
}

// Commit commits the change, and serves its listeners from now on with the settings of
// their name, which have no net.Listener. When it returns, those that have ended are served
// no longer. It is called by one goroutine at a time.
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

// problem returns what is wrong when Serve of l has returned err; nil if the server shuts down.
func problem(l *systemd.Listener, err error) error {
	if errors.Is(err, service.ErrClosed) {
		return nil
	}
	if refused := (*systemd.BindError)(nil); errors.As(err, &refused) { // which has the name
		return err
	}
	return fmt.Errorf("listener %s: %w", l.Name(), cmp.Or(err, errEnded))
}

// Check returns nil while every listener that Commit has opened is served, or when the server shuts
// down, and else which is not, and why.
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

// Broken receives why a listener ended that nobody closed. One is enough to stop for:
// further ones are not kept.
func (s *Set) Broken() <-chan error { return s.broken }

// Wait waits until nothing is served any more.
func (s *Set) Wait() { s.running.Wait() }
