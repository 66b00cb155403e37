package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"greetd.example/internal/admin"
	"greetd.example/internal/logging"
	"greetd.example/pkg/service"
	"greetd.example/pkg/systemd"
)

// An adminSide is where operators reach the daemon. Under systemd there is always the
// socket in the runtime directory, so that `greetd reload` finds it whatever the
// configuration says; admin.address adds another.
type adminSide struct {
	log     *logging.Log
	server  *admin.Server
	serving sync.WaitGroup

	mu   sync.Mutex
	open map[string]net.Listener // by address
}

func newAdminSide(d *daemon) *adminSide {
	return &adminSide{
		log:  d.log,
		open: make(map[string]net.Listener),
		server: admin.New(admin.Daemon{
			Status:   d.snapshot,
			Reload:   d.reload,
			SetLevel: d.log.SetLevel,
			Metrics:  d.metrics.Handler(),
			Ready:    d.ready,
			Healthy:  func() error { return d.healthy(context.Background(), time.Second) },
			Failed:   func(err error) { d.log.Event(logging.AdminTroubled, err.Error()) },
			Problems: func() []admin.Problem { return problems(d.log.Problems()) },

			Durations: d.metrics.Durations,
		}),
	}
}

func problems(logged []logging.Problem) []admin.Problem {
	shown := make([]admin.Problem, 0, len(logged))
	for _, p := range logged {
		shown = append(shown, admin.Problem(p))
	}
	return shown
}

func adminAddresses(configured string) map[string]bool {
	addresses := make(map[string]bool)
	if directory := systemd.RuntimeDirectory(); directory != "" {
		addresses[controlAddress(directory)] = true
	}
	if configured != "" {
		addresses[configured] = true
	}
	return addresses
}

// reopen listens where the configuration wants it, and nowhere else. With an error
// everything is as it was.
func (a *adminSide) reopen(configured string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	wanted := adminAddresses(configured)
	added := make(map[string]net.Listener)
	for address := range wanted {
		if a.open[address] != nil {
			continue
		}
		ln, err := admin.Listen(address)
		if err != nil {
			for _, other := range added {
				_ = other.Close()
			}
			return fmt.Errorf("admin: %w", err)
		}
		added[address] = ln
	}
	for address, ln := range a.open {
		if !wanted[address] {
			_ = ln.Close()
			delete(a.open, address)
		}
	}
	for address, ln := range added {
		a.open[address] = ln
		a.serving.Go(func() { // close waits
			if err := a.server.Serve(ln); err != nil {
				a.log.Event(logging.AdminTroubled, fmt.Sprintf("admin at %s: %v", address, err))
			}
		})
	}
	return nil
}

// close lets the answers under way end.
func (a *adminSide) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = a.server.Shutdown(ctx)
	a.serving.Wait()
}

var (
	errStarting = errors.New("greetd is starting: not all listeners are open")
	errDraining = errors.New("greetd is draining: it takes no new clients")
)

func (d *daemon) ready() error {
	switch *d.state.Load() {
	case admin.Starting:
		return errStarting
	case admin.Draining:
		return errDraining
	default:
		return nil
	}
}

// snapshot is what `greetd status` shows.
func (d *daemon) snapshot() admin.Status {
	b := build()
	host, _ := os.Hostname() // the page does without
	s := admin.Status{
		Version: b.version, Commit: b.commit, GoVersion: b.goVersion,
		Hostname: host, PID: os.Getpid(), State: *d.state.Load(), Ready: d.ready() == nil,
		Started: d.started, UptimeSeconds: time.Since(d.started).Seconds(),
		Outcomes: make(admin.Outcomes),
		Log:      admin.Log{Output: d.log.Output(), Level: d.log.Level(), Dropped: d.log.Dropped(), Suppressed: d.log.Suppressed()},
		Limits:   admin.Limits{Descriptors: descriptorLimit()},
	}
	if now := d.current.Load(); now != nil {
		s.Configuration = admin.Configuration{
			Path: now.Path, Generation: now.generation, Loaded: now.since, LastReload: now.lastReload,
		}
		s.Limits.Connections = now.Limits.Connections
		s.Limits.PerSourceConnections = now.Limits.PerSource.Connections
		s.Limits.PerSourceRate = now.Limits.PerSource.Rate
	}
	for _, o := range service.Outcomes() {
		s.Outcomes[o] = 0
	}
	numbers := make(map[string]service.ListenerStats)
	for _, l := range d.server.Stats() {
		numbers[l.Name] = l
		s.Connections.Active += l.Active
		s.Connections.Lingering += l.Lingering
		s.GreetingBytes += l.Bytes
		for o, n := range l.Visits {
			s.Outcomes[o] += n
		}
	}
	full := s.Limits.Connections > 0 && s.Connections.Active >= s.Limits.Connections
	for _, p := range d.posts.all() {
		l, first := numbers[p.name]
		if !first { // another socket of the same name: the numbers are told once
			s.Listeners = append(s.Listeners, listenerRow(p, service.ListenerStats{Open: true}, full))
			continue
		}
		s.Listeners = append(s.Listeners, listenerRow(p, l, full))
		delete(numbers, p.name)
	}
	for _, l := range d.server.Stats() {
		if gone, ok := numbers[l.Name]; ok {
			s.Listeners = append(s.Listeners, listenerRow(&post{name: l.Name}, gone, false))
		}
	}
	return s
}

func listenerRow(p *post, l service.ListenerStats, full bool) admin.Listener {
	row := admin.Listener{
		Name: p.name, Address: addressOf(p.socket), Origin: admin.Origin(p.socket.Origin),
		State: admin.Listening, Active: l.Active, Lingering: l.Lingering,
		Outcomes: make(admin.Outcomes), GreetingBytes: l.Bytes,
	}
	for _, o := range service.Outcomes() {
		row.Outcomes[o] = l.Visits[o]
	}
	switch {
	case !l.Open:
		row.State = admin.Removed
	case l.Trouble != nil:
		row.State, row.Trouble = admin.Troubled, l.Trouble.Error()
	case full:
		row.State = admin.Full
	}
	return row
}
