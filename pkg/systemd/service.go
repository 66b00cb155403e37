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

// A Service connects this process with its service manager. Start returns it, and Close ends it.
// Set the fields before the first call of a method; each field has a default. The methods may be
// called at once from many goroutines, unless their documentation says otherwise. A second Close
// does nothing.
type Service struct {
	// Notifier sends notifications. Outside systemd it is nil, which sends nothing.
	Notifier *Notifier

	// Status returns the line that `systemctl status` shows. It is called when the state of the
	// service changes, and every second while Wait or Drain runs. nil: the line lists the
	// listeners.
	Status func() string

	// DrainTimeout is the time that Drain allows for the shutdown; 0: 10s.
	DrainTimeout time.Duration

	// Report receives errors while the service runs: a failed reload, a failed check of the
	// watchdog, a notification that could not be sent. It must not call methods of the Service.
	// nil: each error is written as one line to stderr.
	Report func(error)

	// Wrap, if not nil, may replace each listening socket before its first use, by a listener that
	// accepts on the same socket. That listener must have SetDeadline and SyscallConn, as a
	// net.TCPListener has. If its SetDeadline fails, Listen or Prepare fails.
	Wrap func(net.Listener) net.Listener

	ctx     context.Context //nolint:containedctx // that of Start, which is the service's life
	signals chan os.Signal
	helpers sync.WaitGroup // Close waits
	end     context.CancelFunc
	ended   context.Context //nolint:containedctx // done when Close begins

	changing sync.Mutex   // guards what follows
	passed   []openSocket // passed by systemd, and not used yet
	units    bool         // at least one was from a socket unit
	files    []*os.File   // of Notifier.Store, passed back by systemd
	change   *Change      // prepared, and neither committed nor rolled back

	mu   sync.Mutex // guards open; held briefly
	open []*Listener

	entering sync.Mutex   // held while a state is reported: systemd learns of them in their order
	state    atomic.Value // a State; nil is Starting

	reloading sync.Mutex // one reload at a time
	reload    func(context.Context) error
	waiting   atomic.Bool // a reload of Wait has not begun yet

	connections atomic.Pointer[connections] // nil until Run
}

// Start takes over the descriptors that systemd passed to this process. Call it before any other
// code opens descriptors. From then on SIGTERM, SIGINT and SIGHUP no longer end the process:
// [Service.Wait], which Run calls, handles them.
//
// When ctx is done, the service stops: Wait returns as after SIGTERM. ctx also limits the lookup of
// host names by Listen.
//
// The error lists everything that is wrong with the descriptors: a datagram socket, a connection
// (Accept=yes), descriptors that are missing, not counted, or for another process. If Start fails,
// it leaves no descriptor open, except those that were passed.
func Start(ctx context.Context) (*Service, error) {
	s := &Service{ctx: ctx, signals: make(chan os.Signal, 8)}
	var err error
	if s.passed, s.files, err = inheritAll(); err != nil {
		return nil, err
	}
	if s.Notifier, err = NewNotifier(); err != nil {
		return nil, err
	}
	s.units = slices.ContainsFunc(s.passed, func(socket openSocket) bool { return !socket.isOwn() })
	s.ended, s.end = context.WithCancel(context.WithoutCancel(ctx))
	signal.Notify(s.signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	return s, nil
}

// Close ends what Start and Watchdog have started, and waits for it. Signals have their usual
// effect again. Listeners are not closed. Descriptors from the fd store that were not used are
// closed in this process.
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
		_ = f.Close()
	}
	s.passed, s.files = nil, nil
	return s.Notifier.close()
}

// wrapPassed applies Wrap, which may have been set since Start.
func (s *Service) wrapPassed() error {
	var problems []error
	for i := range s.passed {
		if err := s.wrap(&s.passed[i]); err != nil {
			problems = append(problems, &BindError{Name: s.passed[i].Name, Err: err})
		}
	}
	return errors.Join(problems...)
}

// wrap applies Wrap to socket, once. The error says that Accept could not wait for clients, because the
// kernel had no room for the socket (epoll_ctl(2)).
func (s *Service) wrap(socket *openSocket) error {
	if s.Wrap == nil || socket.Listener == nil {
		return nil
	}
	if !socket.wrapped {
		socket.Listener, socket.wrapped = s.Wrap(socket.Listener), true
	}
	if l, ok := socket.Listener.(interface{ SetDeadline(time.Time) error }); ok {
		if err := l.SetDeadline(time.Time{}); err != nil {
			return fmt.Errorf("listen on %s: %w", socket.Addr(), err)
		}
	}
	return nil
}

// add adds a Listener on socket to the service, and makes systemd keep the socket.
func (s *Service) add(name string, socket openSocket) *Listener {
	l := &Listener{service: s, socket: socket, name: name, ipv6Only: socket.isIPv6Only()}
	s.mu.Lock()
	s.open = append(s.open, l)
	s.mu.Unlock()
	s.keep(name, socket)
	return l
}

// keep makes systemd keep socket across a restart and a crash.
func (s *Service) keep(name string, socket openSocket) {
	if err := s.Notifier.store(socket); err != nil {
		s.report(fmt.Errorf("listener %s is not kept across a restart: %w", name, err))
	}
}

// discard closes a socket permanently, also in the fd store.
func (s *Service) discard(socket openSocket) {
	if err := s.Notifier.forget(socket); err != nil {
		s.report(fmt.Errorf("systemd may keep %s open: %w", socket.address(), err))
	}
	_ = socket.Remove()
}

// Stored returns the descriptors that an earlier process stored under name with [Notifier.Store],
// or nil. The caller closes them. systemd keeps its copies until Discard.
func (s *Service) Stored(name string) []*os.File {
	s.changing.Lock()
	defer s.changing.Unlock()
	var found []*os.File
	s.files = slices.DeleteFunc(s.files, func(f *os.File) bool {
		wanted := f.Name() == filePrefix+name
		if wanted {
			found = append(found, f)
		}
		return wanted
	})
	return found
}

// Listeners returns the listeners of Listen and Commit, in the order in which they were opened,
// without those that a later Commit or Remove has ended. A drain closes listeners, but does not
// remove them from this list.
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

// A BindError is the error if the system refused to bind the address of a listener. Other errors of
// Listen and Prepare concern the sockets that systemd passed, or the configuration.
type BindError struct {
	Name string // of the listener
	Err  error
}

// Error implements error.
func (e *BindError) Error() string { return fmt.Sprintf("listener %s: %v", e.Name, e.Err) }

// Unwrap returns Err.
func (e *BindError) Unwrap() error { return e.Err }
