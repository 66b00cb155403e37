// Package daemon is the life of one greetd: start, serve, reload, drain.
//
// [Run] is the top: it builds what the other packages offer into one daemon, and waits
// for signals. reload.go and drain.go have the two things that a signal can cause;
// watchdog.go and report.go report to systemd; endpoints.go and status.go answer the admin
// socket. All of them work on the struct in state.go.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"greetd.example/internal/build"
	"greetd.example/internal/config"
	"greetd.example/internal/exit"
	"greetd.example/internal/limits"
	"greetd.example/internal/listeners"
	"greetd.example/internal/logging"
	"greetd.example/internal/settings"
	"greetd.example/pkg/service"
	"greetd.example/pkg/systemd"
)

// Run greets until ctx ends, a signal comes or a listener breaks. An error is an
// [exit.Error], and is reported to systemd and the log already, if it could be: its Err is
// nil then. The log goes to stdout and stderr where the configuration says so.
func Run(ctx context.Context, source config.Source, stdout, stderr *os.File) error {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	signal.Ignore(syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGPIPE)

	notify, err := systemd.NewNotifier()
	if err == nil {
		d := &daemon{source: source, started: time.Now(), notify: notify}
		err = d.run(ctx, stdout, stderr, signals)
	}
	if err == nil {
		return nil
	}
	var failed exit.Error
	if !errors.As(err, &failed) {
		failed = exit.Error{Code: exit.Failed, Err: err}
	}
	sentence := strings.ReplaceAll(failed.Error(), "\n", "; ")
	if errno := syscall.Errno(0); errors.As(err, &errno) {
		_ = notify.Errno(errno, sentence)
	} else {
		_ = notify.Status(sentence)
	}
	if err := logging.Fatal(stderr, failed.Error()); err != nil {
		return failed // the caller prints it
	}
	return exit.Error{Code: failed.Code}
}

// run starts everything, serves, and closes everything.
func (d *daemon) run(ctx context.Context, stdout, stderr *os.File, signals <-chan os.Signal) error {
	sockets, err := systemd.Inherit() // before anything else opens descriptors
	if err != nil {
		return exit.Error{Code: exit.System, Err: err}
	}
	loaded, next, err := settings.Load(d.source)
	if err != nil {
		return exit.Error{Code: exit.Config, Err: err}
	}
	if d.log, err = logging.Open(logOptions(loaded.Log), stdout, stderr); err != nil {
		return exit.Error{Code: exit.Config, Err: loaded.Problem("log", err)}
	}
	defer d.log.Close()
	limits.UseCPUs(next.TLS())
	d.logStart(loaded)
	d.fitMemory(&loaded.Config, next)
	next.Admission(&d.sources)
	d.server = next.Server
	d.connect()
	defer d.close()
	if err := d.open(ctx, loaded, next, sockets); err != nil {
		return err
	}
	return d.serve(ctx, signals)
}

// logStart applies the memory limit, and logs it with version and configuration.
func (d *daemon) logStart(loaded config.Loaded) {
	group, limit, err := limits.ApplyMemory()
	if err != nil {
		d.log.Event(logging.ConfigWarning, fmt.Sprintf("greetd minds no limit of its memory: %v", err))
	}
	d.memory = group
	b := build.Read()
	fields := []logging.Field{cpus(), logging.F("version", b.Version), logging.F("config", loaded.Path)}
	if limit != math.MaxInt64 {
		fields = append(fields, logging.F("memory_limit", limit))
	}
	d.log.Event(logging.Started, fmt.Sprintf("greetd %s starts with %s", b.Version, nameOf(loaded)), fields...)
}

// connect connects the server to what observes it and what it reports to.
func (d *daemon) connect() {
	d.metrics = d.newMetrics()
	d.server.Observer = service.Observers{d.log, d.metrics}
	d.server.SpokeTLS = d.warnTLSExpected()
	d.listeners = listeners.New(listeners.Hooks{
		Serve:  d.server.Serve,
		Store:  d.notify,
		Opened: func(l listeners.Listener) { d.logListener(logging.ListenerOpened, l, "takes clients at") },
		Closed: func(l listeners.Listener) { d.logListener(logging.ListenerClosed, l, "takes no more clients at") },
		Warn:   func(err error) { d.log.Event(logging.ConfigWarning, err.Error()) },
	})
	d.admin = d.newAdmin()
}

// open opens all listeners, and reports READY.
func (d *daemon) open(ctx context.Context, loaded config.Loaded, next settings.Settings, sockets []systemd.Socket) error {
	wants := wantsOf(loaded.Config)
	assigned, err := systemd.Assign(wants, sockets)
	if err != nil {
		return exit.Error{Code: exit.Config, Err: err}
	}
	change, err := d.listeners.Prepare(ctx, wants, assigned)
	if err != nil {
		return exit.Error{Code: exit.System, Err: err}
	}
	if err := d.admin.reopen(loaded.Admin.Address); err != nil {
		change.Rollback(ctx)
		return exit.Error{Code: exit.System, Err: err}
	}
	d.current.Store(&current{Loaded: loaded, settings: next, generation: 1, since: time.Now()})
	change.Commit(next.Listeners)
	d.warn(d.inForce())
	d.setState(running)
	if err := d.notify.Ready(d.status()); err != nil {
		d.log.Event(logging.ConfigWarning, fmt.Sprintf("systemd does not hear that greetd is ready: %v", err))
	}
	d.log.Event(logging.Ready, "greetd is ready: "+d.describe(), logging.F("listeners", len(d.listeners.Listeners())))
	return nil
}

// serve waits for what ends the daemon, and reloads on SIGHUP meanwhile.
func (d *daemon) serve(ctx context.Context, signals <-chan os.Signal) error {
	helping, stop := context.WithCancel(ctx)
	var helpers sync.WaitGroup
	defer helpers.Wait()
	defer stop()
	reloads, stopReloads := context.WithCancel(helping)
	defer stopReloads()
	helpers.Go(func() { limits.GrowDescriptorTable(d.inForce().Limits.Connections) }) // after READY, which need not wait for it
	helpers.Go(func() { d.watchdog(helping) })
	helpers.Go(func() { d.report(helping) })
	helpers.Go(func() { d.logControl(helping) })
	for {
		select {
		case <-ctx.Done():
			stopReloads()
			return d.drain(signals, "it was asked to")
		case err := <-d.listeners.Broken():
			stopReloads()
			_ = d.drain(signals, "a listener is broken")
			return exit.Error{Code: exit.Failed, Err: err}
		case s := <-signals:
			if s != syscall.SIGHUP {
				stopReloads()
				return d.drain(signals, "it got "+unix.SignalName(s.(syscall.Signal)))
			}
			helpers.Go(func() { d.reload(reloads) })
		}
	}
}

// close closes what connect and open have opened; after a drain there is little left.
func (d *daemon) close() {
	_ = d.server.Close()
	d.listeners.Wait()
	d.admin.close()
}
