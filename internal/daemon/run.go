// Package daemon runs one greetd: start, serve, reload, drain.
//
// [Run] builds the daemon from the other packages, and waits for signals. reload.go and drain.go handle
// the signals for a reload and for a shutdown. report.go and health.go report to systemd. endpoints.go
// and status.go answer requests on the admin socket. All of them use the struct in state.go.
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

	"greetd.example/internal/build"
	"greetd.example/internal/config"
	"greetd.example/internal/exit"
	"greetd.example/internal/limits"
	"greetd.example/internal/listeners"
	"greetd.example/internal/logcontrol"
	"greetd.example/internal/logging"
	"greetd.example/internal/settings"
	"greetd.example/pkg/service"
	"greetd.example/pkg/systemd"
)

// Run greets clients until ctx is done, a signal ends it, or a listener breaks. An error is an
// [exit.Error]. Run reports the error to systemd and on stderr; then its Err is nil. If stderr can't be
// written, Err is not nil, and the caller has to print it. The log goes to stdout or stderr if the
// configuration says so.
func Run(ctx context.Context, source config.Source, stdout, stderr *os.File) error {
	signal.Ignore(syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGPIPE)
	err := run(ctx, source, stdout, stderr)
	if err == nil {
		return nil
	}
	var failed exit.Error
	if !errors.As(err, &failed) {
		failed = exit.Error{Code: exit.Failed, Err: err}
	}
	sentence := strings.ReplaceAll(failed.Error(), "\n", "; ")
	notify, _ := systemd.NewNotifier() // a nil Notifier does nothing
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
func run(ctx context.Context, source config.Source, stdout, stderr *os.File) error {
	d := &daemon{source: source, started: time.Now(), newCertificates: make(chan struct{}, 1)}
	var err error
	if d.systemd, err = systemd.Start(ctx); err != nil { // before anything else opens descriptors
		return exit.Error{Code: exit.System, Err: err}
	}
	defer d.systemd.Close()
	loaded, next, err := settings.Load(source)
	if err != nil {
		return d.refused(ctx, err, stderr)
	}
	if d.log, err = logging.Open(logOptions(loaded.Log), stdout, stderr); err != nil {
		return d.refused(ctx, loaded.Problem("log", err), stderr)
	}
	defer d.log.Close()
	if os.Getenv("DEBUG_INVOCATION") == "1" { // RestartMode=debug: systemd restarts it after a failure (systemd.exec(5))
		_ = d.log.SetLevel("debug")
	}
	limits.UseCPUs(next.TLS())
	d.logStart(loaded)
	d.capByMemory(&loaded.Config, next)
	next.Admission(&d.sources)
	d.server = &service.Server{}
	d.server.Update(*next.Service) // before its first Serve
	d.connect()
	defer d.close()
	if err := d.open(ctx, loaded, next); err != nil {
		if failed := (exit.Error{}); errors.As(err, &failed) && failed.Code == exit.Config {
			return d.refused(ctx, failed.Err, stderr)
		}
		return err
	}
	return d.serve(ctx)
}

// logStart applies the memory limit, and logs it with version and configuration.
func (d *daemon) logStart(loaded config.Loaded) {
	group, limit, err := limits.ApplyMemory()
	if err != nil {
		d.log.Event(logging.ConfigWarning, fmt.Sprintf("ignoring the memory limit of the control group: %v", err))
	}
	d.memory = group
	b := build.Read()
	fields := []logging.Field{cpus(), logging.F("version", b.Version), logging.F("config", loaded.Path)}
	if limit != math.MaxInt64 {
		fields = append(fields, logging.F("memory_limit", limit))
	}
	d.log.Event(logging.Started, fmt.Sprintf("starting greetd %s with %s", b.Version, loaded.Name()), fields...)
}

// connect sets the functions with which the server, the listeners and systemd.Service report to the log,
// the metrics and the admin endpoints.
func (d *daemon) connect() {
	d.metrics = d.newMetrics()
	d.server.Observer = service.Observers{d.log, d.metrics}
	d.server.Trace = d.log.Trace
	d.server.SpokeTLS = d.warnTLSExpected()
	d.systemd.Wrap = service.Direct
	d.systemd.Status = d.status
	d.systemd.Report = d.logProblem
	d.systemd.OnReload(func(ctx context.Context) error {
		d.reloadNow(ctx) // logs the result
		return nil
	})
	d.listeners = listeners.New(listeners.Hooks{
		Serve:  d.server.Serve,
		Opened: func(l *systemd.Listener) { d.logListener(logging.ListenerOpened, "listening on", l) },
		Closed: func(l *systemd.Listener) { d.logListener(logging.ListenerClosed, "stopped listening on", l) },
	})
	d.admin = d.newAdmin()
}

// open opens all listeners, and sends READY=1 to systemd.
func (d *daemon) open(ctx context.Context, loaded config.Loaded, next settings.Settings) error {
	change, err := d.systemd.Prepare(ctx, listenConfigs(loaded.Config, next.Listeners))
	if refused := (*systemd.BindError)(nil); errors.As(err, &refused) {
		return exit.Error{Code: exit.System, Err: err}
	}
	if err != nil {
		return exit.Error{Code: exit.Config, Err: err}
	}
	if err := d.admin.reopen(loaded.Admin.Address, next.Web); err != nil {
		change.Rollback(ctx)
		return exit.Error{Code: exit.System, Err: err}
	}
	d.current.Store(&current{Loaded: loaded, settings: next, generation: 1, since: time.Now()})
	d.listeners.Commit(change, next.Listeners)
	d.warn(d.inForce())
	if err := d.systemd.Ready(); err != nil {
		return exit.Error{Code: exit.System, Err: err}
	}
	d.log.Event(logging.Ready, "greetd is ready: "+d.describe(), logging.F("listeners", len(d.systemd.Listeners())))
	return nil
}

// serve waits for a signal, for the end of ctx, or for a broken listener, and then drains.
func (d *daemon) serve(ctx context.Context) error {
	helping, stop := context.WithCancel(ctx)
	var helpers sync.WaitGroup
	defer helpers.Wait()
	defer stop()
	// After READY=1, which must not wait for these:
	helpers.Go(func() { limits.GrowDescriptorTable(d.inForce().Limits.Connections) })
	helpers.Go(limits.ReleaseStartup)
	helpers.Go(func() { d.trimMemory(helping) })
	helpers.Go(func() { d.restoreLost(helping) })
	helpers.Go(func() { d.logControl(helping) })
	helpers.Go(func() { d.followCertificates(helping) })
	helpers.Go(d.warnUnit)
	d.systemd.Watchdog(d.prove)
	why, err := d.systemd.Wait(d.listeners.Broken())
	if err == nil {
		why = d.lameDuck(ctx, why)
	}
	d.drain(why)
	return err
}

// logControl answers systemctl service-log-level, if the unit sets GREETD_BUS_NAME.
func (d *daemon) logControl(ctx context.Context) {
	name := os.Getenv(config.EnvBusName)
	if name == "" {
		return
	}
	logcontrol.Serve(ctx, name, d.log, func(err error) {
		d.log.Event(logging.ConfigWarning, fmt.Sprintf(
			"systemctl service-log-level does not work now: %v (%s asks for it; it needs a fixed user and a D-Bus policy)", err, config.EnvBusName))
	})
}

// close closes everything that connect and open have opened. After a drain, most of it is closed already.
func (d *daemon) close() {
	_ = d.server.Close()
	d.listeners.Wait()
	d.admin.close()
	_ = d.systemd.Close() // before the log is closed: reloads and the watchdog write to it
}
