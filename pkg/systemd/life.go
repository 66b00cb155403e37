package systemd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A State is the state of a service.
type State string

// The states of a service, in their order; Reloading goes back to Running.
const (
	Starting  State = "starting"  // until Ready
	Running   State = "running"   // READY=1
	Reloading State = "reloading" // RELOADING=1
	LameDuck  State = "lame duck" // STOPPING=1, and still serving
	Draining  State = "draining"  // STOPPING=1
)

const (
	defaultDrainTimeout = 10 * time.Second
	drainTick           = 500 * time.Millisecond
	drainExtension      = 5 * time.Second // for the steps after the drain
	statusInterval      = time.Second
	recovered           = 30 * time.Second // after this time, earlier failures no longer delay a restart of the service
)

// State returns the state of the service.
func (s *Service) State() State {
	if state, ok := s.state.Load().(State); ok {
		return state
	}
	return Starting
}

// enter changes the state and reports it, unless the service is stopping: that state is final.
func (s *Service) enter(next State) bool {
	s.entering.Lock()
	defer s.entering.Unlock()
	if now := s.State(); now == Draining || now == LameDuck && next != Draining {
		return false
	}
	s.state.Store(next)
	var err error
	switch next {
	case Running:
		err = s.Notifier.Ready(s.status())
	case Reloading:
		err = s.Notifier.Reloading()
	case LameDuck, Draining:
		err = s.Notifier.Stopping(s.status())
	}
	if err != nil {
		s.report(fmt.Errorf("systemd was not notified that the service is %s: %w", next, err))
	}
	return true
}

// Ready reports to systemd that the service has started. Call it when every listener is open and
// the configuration applies; Run calls it.
//
// Ready also checks the sockets that no Listen has used. If one of them belongs to a socket unit,
// Ready returns an error and does not notify systemd, since the clients of that socket would wait
// forever. Sockets that the fd store kept for an earlier configuration are closed and discarded.
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
		_ = f.Close()
		name := strings.TrimPrefix(f.Name(), filePrefix)
		if err := s.Notifier.Discard(name); err != nil {
			s.report(fmt.Errorf("systemd may keep the descriptor %s: %w", name, err))
		}
	}
	s.passed, s.files = nil, nil
	return errors.Join(problems...)
}

// OnReload sets the function that applies the present configuration. SIGHUP, while Wait runs, and
// Reload call it. If the function returns an error, it must keep the previous configuration. Call
// OnReload before Ready. Without it, a reload does nothing and succeeds.
func (s *Service) OnReload(reload func(context.Context) error) { s.reload = reload }

// ErrNotRunning is the error of a reload before Ready, and after the service began to drain.
var ErrNotRunning = errors.New("nothing was reloaded")

// Reload reloads as SIGHUP does, waits until that is done, and returns the error of the reload.
func (s *Service) Reload(ctx context.Context) error {
	if s.reload == nil {
		return s.ReloadWith(ctx, func(context.Context) error { return nil })
	}
	return s.ReloadWith(ctx, s.reload)
}

// ReloadWith calls reload as a reload of the service. Only one reload runs at a time. systemd gets
// RELOADING=1, with the time, before the call, and READY=1 after it. READY=1 is also sent after a
// failed reload: without it, `systemctl reload` would never return (with Type=notify-reload, and
// with any type before systemd 258). The error is that of reload, or ErrNotRunning.
func (s *Service) ReloadWith(ctx context.Context, reload func(context.Context) error) error {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	s.waiting.Store(false) // a SIGHUP from here on needs a RELOADING=1 of its own
	if state := s.State(); state != Running || !s.enter(Reloading) {
		return fmt.Errorf("%w: the service is %s", ErrNotRunning, s.State())
	}
	defer s.enter(Running)
	return reload(ctx)
}

// Wait waits until the service has to stop. Meanwhile it reloads at each SIGHUP, keeps the status
// up to date, and passes errors to Report. After 30 s it resets the delays of RestartSteps=, see
// [Notifier.ResetRestarts].
//
// It returns the reason of the stop: the signal (SIGTERM or SIGINT), or the end of the context of
// Start. If an error arrives on failed, which a server sends when it has ended by itself, Wait
// returns this error. failed may be nil. Wait does not wait for a reload that is running; the
// context of the reload is then done. Call Wait once; Drain comes next.
func (s *Service) Wait(failed <-chan error) (why string, err error) {
	ctx, cancel := context.WithCancelCause(s.ctx)
	defer func() { cancel(cmp.Or(err, errors.New(why))) }()
	tick := time.NewTicker(statusInterval)
	defer tick.Stop()
	settled := time.After(recovered)
	var last string
	for {
		select {
		case <-settled:
			_ = s.Notifier.ResetRestarts()
		case <-s.ctx.Done():
			return context.Cause(s.ctx).Error(), nil
		case err := <-failed:
			return err.Error(), err
		case sig := <-s.signals:
			if sig != syscall.SIGHUP {
				return "received " + signalName(sig), nil
			}
			s.hangUp(ctx)
		case <-tick.C:
			if now := s.status(); s.Notifier != nil && now != last && s.Notifier.Status(now) == nil {
				last = now
			}
		}
	}
}

// hangUp starts a reload. While one is running, at most one other waits. This is enough: it begins after
// every SIGHUP that has arrived meanwhile.
func (s *Service) hangUp(ctx context.Context) {
	if s.waiting.Swap(true) {
		return
	}
	s.helpers.Go(func() {
		err := s.Reload(ctx)
		if err != nil && !errors.Is(err, ErrNotRunning) {
			s.report(fmt.Errorf("reload failed, keeping the previous configuration: %w", err))
		}
	})
}

// Linger continues to serve for d before the service stops. Meanwhile the state of the service is
// LameDuck, so that load balancers can send their clients elsewhere. Linger sends STOPPING=1, asks
// systemd for the time, and returns nil after d. Another SIGTERM or SIGINT, or the end of ctx, ends
// it at once; then it returns the reason. Call it after Wait and before Drain.
func (s *Service) Linger(ctx context.Context, d time.Duration) error {
	s.enter(LameDuck)
	_ = s.Notifier.Extend(d + drainExtension)
	errOver := errors.New("the service has lingered")
	ctx, cancel := context.WithTimeoutCause(ctx, d, errOver)
	defer cancel()
	ctx, cut := context.WithCancelCause(ctx)
	defer cut(nil)
	s.attend(ctx.Done(), statusInterval, cut)
	if err := context.Cause(ctx); !errors.Is(err, errOver) {
		return err
	}
	return nil
}

// attend reports the status at each tick, and passes another SIGTERM or SIGINT to cut, until done is closed.
func (s *Service) attend(done <-chan struct{}, interval time.Duration, cut context.CancelCauseFunc) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case sig := <-s.signals:
			if sig != syscall.SIGHUP {
				cut(fmt.Errorf("received %s again", signalName(sig)))
			}
		case <-tick.C:
			_ = s.Notifier.Status(s.status())
		}
	}
}

// Drain stops the service: it sends STOPPING=1 and calls shutdown. shutdown must first close the
// listeners, then wait until the accept loops have ended, and then wait for the connections. Drain
// asks systemd for the time that this may take (EXTEND_TIMEOUT_USEC=), so that a shorter
// TimeoutStopSec= of the unit does not end it with SIGKILL.
//
// The context of shutdown is done after DrainTimeout, at a second SIGTERM or SIGINT, or when ctx is
// done. shutdown must then close the remaining connections and return. Drain returns the error of
// shutdown.
func (s *Service) Drain(ctx context.Context, shutdown func(context.Context) error) error {
	s.enter(Draining)
	timeout := cmp.Or(s.DrainTimeout, defaultDrainTimeout)
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("the drain took longer than %v", timeout))
	defer cancel()
	ctx, cut := context.WithCancelCause(ctx)
	defer cut(nil)
	var err error
	done := make(chan struct{})
	go func() { // attend waits for it
		defer close(done)
		err = shutdown(ctx)
	}()
	_ = s.Notifier.Extend(timeout + drainExtension)
	s.attend(done, drainTick, cut)
	return err
}

func signalName(sig os.Signal) string {
	switch sig {
	case os.Interrupt:
		return "SIGINT"
	case syscall.SIGTERM:
		return "SIGTERM"
	default:
		return sig.String()
	}
}

// A Server can be run by Run; *http.Server is a Server. Serve returns an error when its listener is
// closed. Shutdown waits for the connections, and Close closes them at once.
type Server interface {
	Serve(ln net.Listener) error
	Shutdown(ctx context.Context) error
	Close() error
}

// Run does everything in the life of a daemon that follows its setup. It serves on listeners, calls
// Ready, and reloads at SIGHUP. At SIGTERM, SIGINT or the end of Start's context it drains: it
// sends STOPPING=1, closes the listeners, and waits for the accept loops and then for the
// connections. If the drain takes too long, or at a second signal, it closes the remaining
// connections.
//
// All clients of an *http.Server that were accepted get their answer, even if their request arrives
// a moment later: http.Server.Shutdown alone would close these connections. For this, Accept of the
// listeners of this service returns connections that embed *net.TCPConn or *net.UnixConn. To serve
// TLS, wrap a listener with tls.NewListener.
//
// Run returns nil after an orderly end, even if connections were closed (Report gets an error for
// this). It returns the error of Ready, or of a Serve that ended by itself. When Run returns,
// nothing is running any more.
func (s *Service) Run(server Server, listeners ...net.Listener) error {
	accepted := &connections{open: make(map[*connection]struct{})}
	s.connections.Store(accepted)
	failed := make(chan error, len(listeners))
	var serving sync.WaitGroup
	for _, ln := range listeners {
		serving.Go(func() {
			if err := server.Serve(ln); s.State() != Draining {
				failed <- fmt.Errorf("serve on %s: %w", ln.Addr(), err)
			}
		})
	}
	err := s.Ready()
	if err == nil {
		_, err = s.Wait(failed)
	}
	cut := s.Drain(context.WithoutCancel(s.ctx), func(ctx context.Context) error {
		for _, ln := range listeners {
			_ = ln.Close()
		}
		// Shutdown does not know a connection that an accept loop is about to pass on.
		serving.Wait()
		if http, ok := server.(interface{ SetKeepAlivesEnabled(enabled bool) }); ok {
			http.SetKeepAlivesEnabled(false)
			accepted.awaitAnswers(ctx)
		}
		err := server.Shutdown(ctx)
		if err != nil {
			_ = server.Close()
		}
		return err
	})
	if cut != nil {
		s.report(fmt.Errorf("connections were cut: %w", cut))
	}
	return err
}

// Watchdog makes systemd restart the service if it hangs (WatchdogSec= of the unit). Four times in
// that interval it calls prove, which checks the service, for example with a request, and returns
// nil if it works. Only then WATCHDOG=1 is sent to systemd. Errors are passed to Report. ctx is
// done after a quarter of the interval. If prove does not return, this counts as a hang.
//
// Without WatchdogSec=, or outside systemd, Watchdog does nothing. It runs until Close. Close does
// not wait for a prove that continues after the end of its ctx. While the service drains, prove is
// not called, since the listeners are closed: TimeoutStopSec= limits the drain.
func (s *Service) Watchdog(prove func(ctx context.Context) error) {
	interval, err := WatchdogInterval()
	if err != nil {
		s.report(fmt.Errorf("the watchdog is off: %w", err))
	}
	if interval <= 0 || s.Notifier == nil {
		return
	}
	s.helpers.Go(func() { s.watch(prove, interval/4) })
}

// watch calls prove at each tick, but never while an earlier call is running.
func (s *Service) watch(prove func(ctx context.Context) error, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	proof := s.startProof(prove, every)
	for {
		select {
		case <-s.ended.Done():
			return
		case err := <-proof:
			proof = nil
			s.tellWatchdog(err)
		case <-tick.C:
			if s.State() == Draining {
				s.tellWatchdog(nil)
			} else if proof == nil {
				proof = s.startProof(prove, every)
			}
		}
	}
}

func (s *Service) startProof(prove func(ctx context.Context) error, limit time.Duration) <-chan error {
	proof := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(s.ended, limit)
		defer cancel()
		proof <- prove(ctx)
	}()
	return proof
}

func (s *Service) tellWatchdog(err error) {
	switch {
	case s.ended.Err() != nil:
	case err != nil && s.State() != Draining:
		s.report(fmt.Errorf("no watchdog notification: %w", err))
	default:
		_ = s.Notifier.Ping() // the next one may get through
	}
}
