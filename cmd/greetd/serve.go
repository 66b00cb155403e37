package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"

	"greetd.example/internal/access"
	"greetd.example/internal/admin"
	"greetd.example/internal/config"
	"greetd.example/internal/logging"
	"greetd.example/internal/metrics"
	"greetd.example/pkg/service"
	"greetd.example/pkg/systemd"
)

// daemon is one running greetd.
type daemon struct {
	source  config.Source
	started time.Time
	notify  *systemd.Notifier
	log     *logging.Log
	metrics *metrics.Metrics
	server  *service.Server
	sources access.Sources
	posts   *posts
	admin   *adminSide
	memory  int64 // of the control group, in bytes; 0: there is no limit, or it is not ours to mind

	reloading sync.Mutex // one at a time
	applied   atomic.Uint64
	refused   atomic.Uint64
	state     atomic.Pointer[admin.State]
	current   atomic.Pointer[current]
}

// current is the configuration in force.
type current struct {
	config.Loaded
	listeners  []service.Listener // as Loaded.Listeners; without sockets
	generation uint64
	since      time.Time
	lastReload *admin.Reload
}

// serve is the daemon's life, from the first signal handler to the last log entry.
// What goes wrong before the log is open, and what ends the process, is told on
// stderr at once.
func (p *program) serve(ctx context.Context) error {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	signal.Ignore(syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGPIPE)

	notify, err := systemd.NewNotifier()
	if err == nil {
		d := &daemon{source: p.source, started: time.Now(), notify: notify}
		err = d.live(ctx, p, signals)
	}
	if err == nil {
		return nil
	}
	var c coded
	if !errors.As(err, &c) {
		c = coded{exitFailed, err}
	}
	sentence := strings.ReplaceAll(c.Error(), "\n", "; ")
	if errno := syscall.Errno(0); errors.As(err, &errno) {
		_ = notify.Errno(errno, sentence)
	} else {
		_ = notify.Status(sentence)
	}
	if err := logging.Fatal(p.stderr, c.Error()); err != nil {
		return c // said on stderr in the ordinary way then
	}
	return coded{code: c.code}
}

func (d *daemon) live(ctx context.Context, p *program, signals <-chan os.Signal) error {
	sockets, err := systemd.Inherit() // before anything else opens descriptors
	if err != nil {
		return coded{exitSystem, err}
	}
	loaded, m, err := load(d.source)
	if err != nil {
		return coded{exitConfig, err}
	}
	if d.log, err = logging.Open(logOptions(loaded.Log), p.stdout, p.stderr); err != nil {
		return coded{exitConfig, loaded.Problem("log", err)}
	}
	defer d.log.Close()
	d.setState(admin.Starting)
	takeCPUs(m.listeners)
	b := build()
	d.log.Event(logging.Started, fmt.Sprintf("greetd %s starts with %s", b.version, nameOf(loaded)),
		append(d.heedLimits(), cpus(), logging.F("version", b.version), logging.F("config", loaded.Path))...)
	d.fit(&loaded.Config, m)

	m.admission(&d.sources)
	d.server = m.rules
	d.metrics = metrics.New(metrics.Sources{
		Version: b.version, Commit: b.commit, Started: d.started,
		Listeners:    d.server.Stats,
		Limit:        d.limit,
		LogDropped:   d.log.Dropped,
		Reloads:      func() (applied, refused uint64) { return d.applied.Load(), d.refused.Load() },
		ReloadFailed: d.reloadFailed,
		Generation:   d.generation,
	})
	d.server.Observer = service.Observers{d.log, d.metrics}
	mistakes := rate.Sometimes{Interval: mistakeInterval}
	d.server.SpokeTLS = func(p service.Peer) { mistakes.Do(func() { d.tellTLSExpected(p) }) }
	d.posts = &posts{server: d.server, log: d.log, notify: d.notify, broken: make(chan error, 1)}
	d.admin = newAdminSide(d)
	defer d.end()
	if err := d.open(ctx, loaded, m, sockets); err != nil {
		return err
	}
	return d.watch(ctx, signals)
}

// open makes everything listen, and says so.
func (d *daemon) open(ctx context.Context, loaded config.Loaded, m manners, sockets []systemd.Socket) error {
	plan, err := d.posts.prepare(ctx, loaded.Config, sockets)
	if err != nil {
		return err
	}
	if err := d.admin.reopen(loaded.Admin.Address); err != nil {
		plan.abandon(ctx)
		return coded{exitSystem, err}
	}
	d.current.Store(&current{Loaded: loaded, listeners: m.listeners, generation: 1, since: time.Now()})
	plan.carryOut(m.listeners)
	d.warn(d.current.Load())
	d.setState(admin.Running)
	if err := d.notify.Ready(d.status()); err != nil {
		d.log.Event(logging.ConfigWarning, fmt.Sprintf("systemd does not hear that greetd is ready: %v", err))
	}
	d.log.Event(logging.Ready, "greetd is ready: "+d.posts.describe(), logging.F("listeners", len(d.posts.all())))
	return nil
}

// mistakeInterval is how long nobody is told of another client that expects TLS.
const mistakeInterval = 10 * time.Second

func (d *daemon) tellTLSExpected(p service.Peer) {
	from := "a local client"
	fields := []logging.Field{logging.F("visit", p.ID), logging.F("listener", p.Listener)}
	if p.Remote.IsValid() {
		from = p.Remote.String()
		fields = append(fields, logging.F("remote_addr", p.Remote.Addr()), logging.F("remote_port", p.Remote.Port()))
	}
	d.log.Event(logging.TLSExpected, fmt.Sprintf(
		"%s began a TLS handshake on %s, where greetings are in plain text: it asked at the wrong port, or the listener lacks a certificate", from, p.Listener), fields...)
}

// warn tells what applies, but probably not as it is meant.
func (d *daemon) warn(c *current) {
	descriptors := descriptorLimit()
	if needed := uint64(c.Limits.Connections) + descriptorsBeside; c.Limits.Connections > 0 && needed > descriptors {
		d.log.Event(logging.ConfigWarning, fmt.Sprintf(
			"limits.connections is %d, but the process may open %d files: raise LimitNOFILE= (in a container, the ulimit nofile) to %d, or lower limits.connections",
			c.Limits.Connections, descriptors, needed), logging.F("key", "limits.connections"))
	}
	for i, l := range c.listeners {
		if l.TLS == nil {
			continue
		}
		if trouble := untimely(leaf(l), time.Now()); trouble != "" {
			d.log.Event(logging.ConfigWarning, fmt.Sprintf("the certificate %s of listener %s %s", c.Listeners[i].TLS.Certificate, l.Name, trouble),
				logging.F("key", fmt.Sprintf("listeners[%d].tls.certificate", i)))
		}
	}
}

// watch serves until a signal, or a listener that breaks, ends it.
func (d *daemon) watch(ctx context.Context, signals <-chan os.Signal) error {
	watching, stop := context.WithCancel(ctx)
	var helpers sync.WaitGroup
	defer helpers.Wait()
	defer stop()
	reloads, stopReloads := context.WithCancel(watching)
	defer stopReloads()
	helpers.Go(func() { growDescriptorTable(d.limit()) }) // not before READY, for which nobody need wait
	helpers.Go(func() { d.watchdog(watching) })
	helpers.Go(func() { d.report(watching) })
	helpers.Go(func() { d.logControl(watching) })
	for {
		select {
		case <-ctx.Done():
			stopReloads()
			return d.drain(signals, "it was asked to")
		case err := <-d.posts.broken:
			stopReloads()
			_ = d.drain(signals, "a listener is broken")
			return coded{exitFailed, err}
		case s := <-signals:
			if s != syscall.SIGHUP {
				stopReloads()
				return d.drain(signals, "it got "+unix.SignalName(s.(syscall.Signal)))
			}
			helpers.Go(func() { d.reload(reloads) })
		}
	}
}

// drain stops: no new clients, and those who are here are greeted to the end, for
// as long as timeouts.drain allows. A second signal cuts them.
func (d *daemon) drain(signals <-chan os.Signal, why string) error {
	patience := d.current.Load().Timeouts.Drain
	d.setState(admin.Draining)
	_ = d.notify.Stopping("draining: " + d.status())
	d.log.Event(logging.Stopping, fmt.Sprintf("greetd stops, since %s: visits have %v to end", why, patience), logging.F("reason", why))

	ctx, cancel := context.WithTimeoutCause(context.Background(), patience, fmt.Errorf("the drain took longer than timeouts.drain, %v", patience))
	defer cancel()
	drained := make(chan error, 1)
	go func() { drained <- d.server.Shutdown(ctx) }() // received below
	tick := time.NewTicker(drainTick)
	defer tick.Stop()
	left := d.left()
	for {
		select {
		case err := <-drained:
			d.posts.wait()
			d.farewell(err)
			return nil
		case s := <-signals:
			if s != syscall.SIGHUP {
				d.log.Event(logging.Stopping, "greetd cuts the visits that are left, since it was told twice")
				_ = d.server.Close()
			}
		case <-tick.C:
			if now := d.left(); now < left {
				left = now
				_ = d.notify.Extend(extension) // only while it gets on
			}
			_ = d.notify.Status("draining: " + d.status())
		}
	}
}

const (
	drainTick = 500 * time.Millisecond
	extension = 5 * time.Second
)

// left is how many connections are still open.
func (d *daemon) left() int {
	left := 0
	for _, l := range d.server.Stats() {
		left += l.Active + l.Lingering
	}
	return left
}

// farewell is the last entry: the totals.
func (d *daemon) farewell(err error) {
	fields := []logging.Field{logging.F("uptime_usec", time.Since(d.started).Microseconds())}
	total := make(map[service.Outcome]uint64)
	for _, l := range d.server.Stats() {
		for o, n := range l.Visits {
			total[o] += n
		}
	}
	for _, o := range service.Outcomes() {
		fields = append(fields, logging.F(string(o), total[o]))
	}
	message := "greetd has stopped: " + inWords(total)
	if err != nil && total[service.Cut] > 0 {
		message += "; " + err.Error()
	}
	d.log.Event(logging.Stopped, message, fields...)
}

// end closes what live has opened; after a drain there is little left.
func (d *daemon) end() {
	_ = d.server.Close()
	d.posts.wait()
	d.admin.close()
}

// generation counts the configurations that were applied; 0 before the first.
func (d *daemon) generation() uint64 {
	if now := d.current.Load(); now != nil {
		return now.generation
	}
	return 0
}

// limit is limits.connections in force; 0 before there is one.
func (d *daemon) limit() int {
	if now := d.current.Load(); now != nil {
		return now.Limits.Connections
	}
	return 0
}

// reloadFailed says whether the last reload left the old configuration in force.
func (d *daemon) reloadFailed() bool {
	now := d.current.Load()
	return now != nil && now.lastReload != nil && !now.lastReload.OK
}

func (d *daemon) setState(s admin.State) { d.state.Store(&s) }

func logOptions(l config.Log) logging.Options {
	return logging.Options{Output: l.Output, Level: l.Level, Format: l.Format, Visits: l.Visits, Rate: l.Rate, Burst: l.Burst}
}

// nameOf names the configuration, for a sentence.
func nameOf(l config.Loaded) string {
	if l.Path == "" {
		return "the default configuration"
	}
	return l.Path
}
