package systemd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// A Service is what this process is to its service manager. Start makes it, Close ends
// it. The fields may be set until the first method is called; each has a default. The
// methods may be called at once from many goroutines, unless they say otherwise. A second
// Close does nothing.
type Service struct {
	// Notifier sends notifications; nil outside systemd, which is a no-op.
	Notifier *Notifier

	// Status returns the line that `systemctl status` shows. It is called for each state
	// that is reported, and every second while Wait or Drain runs. nil: the listeners.
	Status func() string

	// DrainTimeout is how long Drain gives the shutdown; 0: 10s.
	DrainTimeout time.Duration

	// Report gets what goes wrong while serving: a failed reload, a watchdog proof that
	// failed, a notification that systemd did not get. It must not call methods of the
	// Service. nil: one line on stderr.
	Report func(error)

	// Wrap may replace each listening socket before it is first used, by one that accepts
	// on the same socket. What it returns must have SetDeadline and SyscallConn, as a
	// net.TCPListener has; where SetDeadline fails, so does Listen or Prepare. nil: as they are.
	Wrap func(net.Listener) net.Listener

	ctx     context.Context //nolint:containedctx // that of Start, which is the service's life
	signals chan os.Signal
	helpers sync.WaitGroup // Close waits
	end     context.CancelFunc
	ended   context.Context //nolint:containedctx // done when Close begins

	changing sync.Mutex   // guards what follows
	passed   []openSocket // by systemd, and nothing listens on them yet
	units    bool         // some were from socket units
	files    []storedFile
	change   *Change // prepared, and neither committed nor rolled back

	mu   sync.Mutex // guards open; held briefly
	open []*Listener

	life        life
	connections atomic.Pointer[connections] // nil until Run
}

// passedOn is what systemd passed.
type passedOn struct {
	sockets []openSocket
	files   []storedFile
}

// A storedFile is a descriptor of Notifier.Store that has come back.
type storedFile struct {
	name string
	file *os.File
}

// Start takes over what systemd passed to this process. Call it first, before anything
// else opens descriptors. From here on SIGTERM, SIGINT and SIGHUP wait for [Service.Wait],
// which Run calls, and end the process no more.
//
// ctx is the life of the service: when it is done, Wait returns as after SIGTERM. It also
// bounds the lookup of host names by Listen.
//
// The error says everything that is wrong with what was passed: a datagram socket, a
// connection (Accept=yes), descriptors that are missing, uncounted or for another process.
// Nothing is open then, but what was passed.
func Start(ctx context.Context) (*Service, error) {
	s := &Service{ctx: ctx, signals: make(chan os.Signal, 8)}
	all, err := inheritAll()
	if err != nil {
		return nil, err
	}
	if s.Notifier, err = NewNotifier(); err != nil {
		return nil, err
	}
	s.passed, s.files = all.sockets, all.files
	for _, socket := range s.passed {
		s.units = s.units || socket.Origin == SocketUnit
	}
	s.ended, s.end = context.WithCancel(context.WithoutCancel(ctx))
	signal.Notify(s.signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	return s, nil
}

// Close ends what Start and Watchdog began, and waits for it. Signals have their usual
// effect again. Listeners stay as they are; descriptors from the fd store that nothing
// asked for are closed in this process.
func (s *Service) Close() error {
	signal.Stop(s.signals)
	s.end()
	s.helpers.Wait()
	s.changing.Lock()
	defer s.changing.Unlock()
	for _, socket := range s.passed {
		if socket.Listener != nil {
			_ = socket.Listener.Close()
		}
	}
	for _, f := range s.files {
		_ = f.file.Close()
	}
	s.passed, s.files = nil, nil
	return s.Notifier.close()
}

// Listen returns the listener of that name: the socket that a socket unit passed under
// it, else the one that the fd store kept for address, else a new one, which systemd keeps
// from now on. See ListenConfig for what address may be.
//
// Where socket units passed any, they say what to listen on, and Listen never binds: a
// name without a socket is an error. A socket without a FileDescriptorName= of its own
// belongs to the listener that has its address, or to this one if it is the only socket.
// Several sockets of one name, IPv4 and IPv6 for example, are an error too: use ListenAll.
func (s *Service) Listen(name, address string) (*Listener, error) {
	return s.ListenWith(ListenConfig{Name: name, Address: address})
}

// ListenWith is Listen with more than a name and an address.
func (s *Service) ListenWith(config ListenConfig) (*Listener, error) {
	all, err := s.listen(config, true)
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

// ListenAll is Listen where a socket unit may pass several sockets under one name. It
// returns one listener for each, and at least one.
func (s *Service) ListenAll(config ListenConfig) ([]*Listener, error) {
	return s.listen(config, false)
}

func (s *Service) listen(config ListenConfig, one bool) ([]*Listener, error) {
	s.changing.Lock()
	defer s.changing.Unlock()
	if err := s.wrapPassed(); err != nil {
		return nil, err
	}
	taken, err := s.claim(config)
	switch {
	case err != nil:
		return nil, err
	case one && len(taken) > 1:
		return nil, fmt.Errorf("systemd passed %d sockets named %q: leave one ListenStream= in the .socket unit "+
			"(with BindIPv6Only=both it serves IPv4 and IPv6), or use ListenAll", len(taken), config.Name)
	}
	if len(taken) == 0 {
		socket, err := s.bind(config)
		if err != nil {
			return nil, &BindError{Name: config.Name, Err: err}
		}
		taken = []openSocket{socket}
	}
	var listeners []*Listener
	for _, socket := range taken {
		s.passed = without(s.passed, socket)
		if socket.isOwn() {
			socket.deferAccept(config.DeferAccept)
		}
		listeners = append(listeners, s.add(config.Name, socket))
	}
	return listeners, nil
}

// claim is which of the sockets that were passed are config's.
func (s *Service) claim(config ListenConfig) ([]openSocket, error) {
	if !s.units {
		for _, socket := range s.passed {
			if socket.boundFor(config) {
				socket.Address = config.Address
				_, err := socket.reconfigure(config)
				return []openSocket{socket}, err
			}
		}
		return nil, nil
	}
	var named, unnamed []openSocket
	for _, socket := range s.passed {
		switch {
		case socket.Origin != SocketUnit:
		case socket.Name == config.Name, socket.Name == "" && sameAddress(config.Address, socket.Address):
			named = append(named, socket)
		case socket.Name == "":
			unnamed = append(unnamed, socket)
		}
	}
	if len(named) == 0 && len(unnamed) == 1 {
		return unnamed, nil
	}
	if len(named) == 0 {
		return nil, noSocketFor(config.Name)
	}
	return named, nil
}

// bind binds config. Sockets from the fd store that hold the port under another address
// (:80 before 127.0.0.1:80) give way.
func (s *Service) bind(config ListenConfig) (openSocket, error) {
	socket, err := s.bindWrapped(s.ctx, config)
	if errors.Is(err, syscall.EADDRINUSE) {
		var kept []openSocket
		for _, old := range s.passed {
			if old.Listener == nil || !samePort(old.Addr(), config.Address) {
				kept = append(kept, old)
				continue
			}
			s.discard(old)
		}
		if len(kept) < len(s.passed) {
			s.passed = kept
			socket, err = s.bindWrapped(s.ctx, config)
		}
	}
	return socket, err
}

func (s *Service) bindWrapped(ctx context.Context, config ListenConfig) (openSocket, error) {
	socket, err := bindSocket(ctx, config)
	if err != nil || s.Wrap == nil {
		return socket, err
	}
	socket.Listener = s.Wrap(socket.Listener)
	if err := waitable(socket.Listener); err != nil {
		_ = socket.Remove()
		return openSocket{}, err
	}
	return socket, nil
}

// wrapPassed applies Wrap, which may have been set since Start.
func (s *Service) wrapPassed() error {
	var problems []error
	for i, socket := range s.passed {
		if s.Wrap == nil || socket.Listener == nil {
			continue
		}
		if !socket.wrapped {
			s.passed[i].Listener, s.passed[i].wrapped = s.Wrap(socket.Listener), true
		}
		if err := waitable(s.passed[i].Listener); err != nil {
			problems = append(problems, &BindError{Name: socket.Name, Err: err})
		}
	}
	return errors.Join(problems...)
}

// waitable returns why nobody can wait for clients on ln, which nobody does yet: the kernel may have
// had no room for it (epoll_ctl(2)).
func waitable(ln net.Listener) error {
	l, ok := ln.(interface{ SetDeadline(time.Time) error })
	if !ok {
		return nil
	}
	if err := l.SetDeadline(time.Time{}); err != nil {
		return fmt.Errorf("listen on %s: %w", ln.Addr(), err)
	}
	return nil
}

// add puts socket into use, and has systemd keep it.
func (s *Service) add(name string, socket openSocket) *Listener {
	l := &Listener{service: s, socket: socket, name: name, ipv6Only: socket.isIPv6Only()}
	s.mu.Lock()
	s.open = append(s.open, l)
	s.mu.Unlock()
	s.keep(name, socket)
	return l
}

// keep has systemd keep socket, across a restart and a crash.
func (s *Service) keep(name string, socket openSocket) {
	if err := s.Notifier.store(socket); err != nil {
		s.report(fmt.Errorf("listener %s is not kept across a restart: %w", name, err))
	}
}

// discard ends a socket for good, in the fd store too.
func (s *Service) discard(socket openSocket) {
	if err := s.Notifier.forget(socket); err != nil {
		s.report(fmt.Errorf("systemd may keep %s open: %w", socket.address(), err))
	}
	_ = socket.Remove()
}

// Stored returns the descriptors that an earlier process gave to [Notifier.Store] under
// name, or nil. The caller closes them; systemd keeps its copies until Discard.
func (s *Service) Stored(name string) []*os.File {
	s.changing.Lock()
	defer s.changing.Unlock()
	var found []*os.File
	var rest []storedFile
	for _, f := range s.files {
		if f.name == name {
			found = append(found, f.file)
		} else {
			rest = append(rest, f)
		}
	}
	s.files = rest
	return found
}

// Ready says that the service has started. Call it when every listener is there and the
// configuration applies; Run does.
//
// What nothing has asked for until now is accounted for here. A socket of a socket unit
// that no Listen took is an error, and Ready is not sent: its clients would wait for
// nothing. What the fd store kept for an earlier configuration is closed and discarded.
func (s *Service) Ready() error {
	if err := s.accountForPassed(); err != nil {
		return err
	}
	s.enter(Running)
	return nil
}

func (s *Service) accountForPassed() error {
	s.changing.Lock()
	defer s.changing.Unlock()
	var problems []error
	var names []string
	for _, l := range s.Listeners() {
		names = append(names, l.name)
	}
	for _, socket := range s.passed {
		if socket.Origin == SocketUnit {
			problems = append(problems, noListenerFor(socket, names))
		} else {
			s.discard(socket)
		}
	}
	for _, f := range s.files {
		_ = f.file.Close()
		if err := s.Notifier.Discard(f.name); err != nil {
			s.report(fmt.Errorf("systemd may keep the descriptor %s: %w", f.name, err))
		}
	}
	s.passed, s.files = nil, nil
	return errors.Join(problems...)
}

// Abandon is for a start that fails for good, such as one whose configuration is refused:
// what the fd store kept, and no Listen took, is closed in all copies and discarded. So no
// client waits at a port that nobody serves. Sockets of socket units stay as they are.
func (s *Service) Abandon() {
	s.changing.Lock()
	defer s.changing.Unlock()
	var units []openSocket
	for _, socket := range s.passed {
		if socket.Origin == SocketUnit {
			units = append(units, socket)
		} else {
			s.discard(socket)
		}
	}
	s.passed = units
}

// ClientsWait reports whether a client waits at a socket that a socket unit passed, and
// that no Listen took. systemd starts a service that ends then again at once.
func (s *Service) ClientsWait() bool {
	s.changing.Lock()
	defer s.changing.Unlock()
	return slices.ContainsFunc(s.passed, func(socket openSocket) bool {
		return socket.Origin == SocketUnit && clientWaits(socket.Listener)
	})
}

// Pause waits for d, or until SIGHUP, before Wait is called: for a start that is tried
// again. It returns false at once when the service is to stop: by SIGTERM, SIGINT, or the
// end of ctx.
func (s *Service) Pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case sig := <-s.signals:
		return sig == syscall.SIGHUP
	case <-timer.C:
		return true
	}
}

// Listeners are those of Listen and Commit, in the order in which they were opened,
// without those that a later Commit, or Remove, has ended. A drain closes them, and leaves
// them in this list.
func (s *Service) Listeners() []*Listener {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.open)
}

func (s *Service) status() string {
	if s.Status != nil {
		return s.Status()
	}
	var all []string
	for _, l := range s.Listeners() {
		all = append(all, l.String())
	}
	if len(all) == 0 {
		return ""
	}
	return "listening on " + strings.Join(all, ", ")
}

func (s *Service) report(err error) {
	if s.Report != nil {
		s.Report(err)
		return
	}
	fmt.Fprintln(os.Stderr, strings.ReplaceAll(err.Error(), "\n", "; "))
}

// A BindError is a listener that could not be bound: the system refused it. Other errors
// of Listen and Prepare are about what systemd passed, or about the configuration.
type BindError struct {
	Name string // of the listener
	Err  error
}

// Error implements error.
func (e *BindError) Error() string { return fmt.Sprintf("listener %s: %v", e.Name, e.Err) }

// Unwrap returns Err.
func (e *BindError) Unwrap() error { return e.Err }
