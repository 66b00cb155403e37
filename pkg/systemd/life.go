package systemd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// A State is what a service is doing.
type State string

// The states of a service, in their order; Reloading goes back to Running.
const (
	Starting  State = "starting"  // until Ready
	Running   State = "running"   // READY=1
	Reloading State = "reloading" // RELOADING=1
	LameDuck  State = "lame duck" // STOPPING=1, and still serving
	Draining  State = "draining"  // STOPPING=1
)

// life is the state, and the reload.
type life struct {
	entering sync.Mutex // held while a state is reported: systemd learns of them in their order

	mu    sync.Mutex
	state State // "" is Starting

	reloading sync.Mutex // one reload at a time
	reload    func(context.Context) error
	waiting   bool // a reload of Wait has not begun yet; guarded by mu
}

const (
	defaultDrainTimeout = 10 * time.Second
	drainTick           = 500 * time.Millisecond
	drainExtension      = 5 * time.Second // for what comes after the drain
	statusInterval      = time.Second
	recovered           = 30 * time.Second // that a service has run: earlier failures no longer delay its restart
)

// State is what the service is doing.
func (s *Service) State() State {
	s.life.mu.Lock()
	defer s.life.mu.Unlock()
	if s.life.state == "" {
		return Starting
	}
	return s.life.state
}

// enter changes the state and reports it, unless the service stops, which is not taken back.
func (s *Service) enter(next State) bool {
	s.life.entering.Lock()
	defer s.life.entering.Unlock()
	if now := s.State(); now == Draining || now == LameDuck && next != Draining {
		return false
	}
	s.life.mu.Lock()
	s.life.state = next
	s.life.mu.Unlock()
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

// OnReload sets what SIGHUP, while Wait runs, and Reload do: apply the configuration as it
// is now, or keep the previous one and return why. Call it before Ready. Without it a
// reload succeeds and does nothing.
func (s *Service) OnReload(reload func(context.Context) error) { s.life.reload = reload }

// ErrNotRunning is the error of a reload before Ready, and after the service began to drain.
var ErrNotRunning = errors.New("nothing was reloaded")

// Reload reloads as SIGHUP does, and returns when that is done, with its error.
func (s *Service) Reload(ctx context.Context) error {
	return s.ReloadWith(ctx, s.reloadFunc())
}

func (s *Service) reloadFunc() func(context.Context) error {
	if s.life.reload == nil {
		return func(context.Context) error { return nil }
	}
	return s.life.reload
}

// ReloadWith calls reload as one reload: one runs at a time, and systemd is notified with
// RELOADING=1 and the time before it, and with READY=1 after it. READY=1 follows a failed
// reload too, or `systemctl reload` would never return (Type=notify-reload, and any type
// before systemd 258). The error is reload's, or ErrNotRunning.
func (s *Service) ReloadWith(ctx context.Context, reload func(context.Context) error) error {
	s.life.reloading.Lock()
	defer s.life.reloading.Unlock()
	s.setWaiting(false) // a SIGHUP from here on needs a RELOADING=1 of its own
	if state := s.State(); state != Running || !s.enter(Reloading) {
		return fmt.Errorf("%w: the service is %s", ErrNotRunning, s.State())
	}
	defer s.enter(Running)
	return reload(ctx)
}

// Wait waits until the service is to stop, and meanwhile reloads at each SIGHUP, keeps the
// status up to date, and hands over what goes wrong to Report. After 30 s it resets the
// delays of RestartSteps=, see [Notifier.ResetRestarts]. It returns why: the signal
// (SIGTERM or SIGINT), that the context of Start is done, or, with an error, what came in
// by failed, for a server that ended by itself; failed may be nil. It returns while a
// reload still runs, whose context is done then. Call it once; Drain comes next.
func (s *Service) Wait(failed <-chan error) (why string, err error) {
	ctx, cancel := context.WithCancelCause(s.ctx)
	tick := time.NewTicker(statusInterval)
	defer tick.Stop()
	runs := time.NewTimer(recovered)
	defer runs.Stop()
	var last string
	for {
		select {
		case <-runs.C:
			_ = s.Notifier.ResetRestarts()
		case <-s.ctx.Done():
			cancel(context.Cause(s.ctx))
			return context.Cause(s.ctx).Error(), nil
		case err := <-failed:
			cancel(err)
			return err.Error(), err
		case sig := <-s.signals:
			if sig != syscall.SIGHUP {
				why := "received " + signalName(sig)
				cancel(errors.New(why))
				return why, nil
			}
			s.hangUp(ctx)
		case <-tick.C:
			if now := s.status(); s.Notifier != nil && now != last && s.Notifier.Status(now) == nil {
				last = now
			}
		}
	}
}

// hangUp starts a reload. While one runs, another waits, and that is enough: it begins
// after every SIGHUP that has come until then.
func (s *Service) hangUp(ctx context.Context) {
	if !s.setWaiting(true) {
		return
	}
	s.helpers.Go(func() {
		err := s.Reload(ctx)
		if err != nil && !errors.Is(err, ErrNotRunning) {
			s.report(fmt.Errorf("reload failed, keeping the previous configuration: %w", err))
		}
	})
}

// setWaiting reports whether that is a change.
func (s *Service) setWaiting(waiting bool) bool {
	s.life.mu.Lock()
	defer s.life.mu.Unlock()
	changed := s.life.waiting != waiting
	s.life.waiting = waiting
	return changed
}

// Linger keeps a service that is to stop serving for d, so that load balancers, which see
// from its state that it stops, send their clients elsewhere first. It sends STOPPING=1, asks
// systemd for the time, and returns nil after d; another SIGTERM or SIGINT ends it at once,
// and so does ctx, and then it returns why. Call it after Wait and before Drain.
func (s *Service) Linger(ctx context.Context, d time.Duration) error {
	s.enter(LameDuck)
	_ = s.Notifier.Extend(d + drainExtension)
	end := time.NewTimer(d)
	defer end.Stop()
	tick := time.NewTicker(statusInterval)
	defer tick.Stop()
	for {
		select {
		case <-end.C:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		case sig := <-s.signals:
			if sig != syscall.SIGHUP {
				return fmt.Errorf("received %s again", signalName(sig))
			}
		case <-tick.C:
			_ = s.Notifier.Status(s.status())
		}
	}
}

// Drain stops the service: it sends STOPPING=1 and calls shutdown, which must close the
// listeners first, wait until its accept loops have ended, and then for the connections.
// systemd is asked for the time that this may take (EXTEND_TIMEOUT_USEC=), so that
// TimeoutStopSec= of the unit, if it is shorter, does not end in SIGKILL.
//
// The context of shutdown is done after DrainTimeout, at a second SIGTERM or SIGINT, and
// with ctx. Then it must cut what is left, and return. Drain returns its error when it has.
func (s *Service) Drain(ctx context.Context, shutdown func(context.Context) error) error {
	s.enter(Draining)
	timeout := s.DrainTimeout
	if timeout == 0 {
		timeout = defaultDrainTimeout
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("the drain took longer than %v", timeout))
	defer cancel()
	ctx, cut := context.WithCancelCause(ctx)
	defer cut(nil)
	done := make(chan error, 1)
	go func() { done <- shutdown(ctx) }() // received below
	tick := time.NewTicker(drainTick)
	defer tick.Stop()
	_ = s.Notifier.Extend(timeout + drainExtension)
	for {
		select {
		case err := <-done:
			return err
		case sig := <-s.signals:
			if sig != syscall.SIGHUP {
				cut(fmt.Errorf("received %s again", signalName(sig)))
			}
		case <-tick.C:
			_ = s.Notifier.Status(s.status())
		}
	}
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

// A Server is what Run runs; an *http.Server is one. Serve returns an error when its
// listener is closed. Shutdown waits for the connections, and Close cuts them.
type Server interface {
	Serve(ln net.Listener) error
	Shutdown(ctx context.Context) error
	Close() error
}

// Run is the rest of a daemon's life. It serves on listeners, calls Ready, reloads at
// SIGHUP, and at SIGTERM, SIGINT or the end of Start's context drains: STOPPING=1, the
// listeners are closed, the accept loops end, the connections are waited for. A drain that
// is too long, or a second signal, cuts what is left.
//
// The clients of an *http.Server that were accepted get their answer, also those whose
// request comes a moment later: http.Server.Shutdown alone cuts them. For that, Accept of
// this service's listeners returns connections that embed *net.TCPConn or *net.UnixConn.
// To serve TLS, wrap a listener by tls.NewListener.
//
// It returns nil after an orderly end, even if connections were cut (Report gets that), and
// the error of Ready or of a Serve that ended by itself. Nothing is running then.
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
		// A connection that an accept loop is about to hand over is not known to Shutdown.
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

// Watchdog has systemd restart a service that hangs (WatchdogSec= of the unit). Four times
// in that interval it calls prove, which returns nil if the service works: for example,
// after a request of its own was answered. Only then systemd gets WATCHDOG=1; an
// error goes to Report. ctx is done after a quarter of the interval. A prove that does not
// return counts as a hang.
//
// Without WatchdogSec=, or outside systemd, Watchdog does nothing. It goes on until Close,
// which does not wait for a prove that goes on although its ctx is done. While the service
// drains, its listeners are closed and prove is not called: TimeoutStopSec= bounds the drain.
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

// watch calls prove each tick, and never a second time before the first has returned.
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
