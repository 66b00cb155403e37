package daemon

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"greetd.example/internal/admin"
	"greetd.example/internal/build"
	"greetd.example/internal/certificate"
	"greetd.example/internal/config"
	"greetd.example/internal/limits"
	"greetd.example/pkg/service"
	"greetd.example/pkg/systemd"
)

var (
	errStarting = errors.New("starting: not all listeners are open")
	errLameDuck = errors.New("greetd is shutting down (lame duck): it still greets, send new clients elsewhere")
	errDraining = errors.New("draining: not accepting new connections")
)

// ready returns nil while greetd greets clients on every listener of the configuration. Otherwise it
// returns the reason.
func (d *daemon) ready() error {
	switch d.systemd.State() {
	case systemd.Starting:
		return errStarting
	case systemd.LameDuck:
		return errLameDuck
	case systemd.Draining:
		return errDraining
	default:
		return d.listeners.Check()
	}
}

// snapshot returns the status that `greetd status` shows.
func (d *daemon) snapshot() admin.Status {
	b := build.Read()
	host, _ := os.Hostname() // the status page needs no host name
	stats := d.server.Stats()
	total := sum(stats)
	now := d.inForce()
	s := admin.Status{
		Version: b.Version, Commit: b.Commit, GoVersion: b.GoVersion,
		Hostname: host, PID: os.Getpid(), State: d.systemd.State(), Ready: d.ready() == nil,
		Started: d.started, UptimeSeconds: time.Since(d.started).Seconds(),
		Configuration: admin.Configuration{
			Path: absolute(now.Path), DropIns: absolutes(now.DropIns), Generation: now.generation, Loaded: now.since, LastReload: now.lastReload,
		},
		Connections:   admin.Connections{Active: total.Active, Lingering: total.Lingering},
		Outcomes:      total.Visits,
		Reasons:       total.Reasons,
		GreetingBytes: total.Bytes,
		Log:           admin.Log{Output: d.log.Output(), Level: d.log.Level(), Dropped: d.log.Dropped(), Suppressed: d.log.Suppressed()},
		Limits: admin.Limits{
			Descriptors: limits.Descriptors(), Connections: now.Limits.Connections,
			PerSourceConnections: now.Limits.PerSource.Connections, PerSourceRate: now.Limits.PerSource.Rate,
		},
	}
	s.Listeners = listenerRows(d.systemd.Listeners(), stats)
	for i := range s.Listeners {
		l := &s.Listeners[i]
		l.Certificate = certificateOf(now.settings.Certificates, *l)
		if at := slices.IndexFunc(now.Listeners, func(c config.Listener) bool { return c.Name == l.Name }); at >= 0 {
			l.ConnectionsLimit = now.Listeners[at].Connections
		}
	}
	return s
}

// absolute returns path as an absolute path, which is valid in every working directory. It returns "" for "".
func absolute(path string) string {
	if all, err := filepath.Abs(path); path != "" && err == nil {
		return all
	}
	return path
}

// absolutes returns paths as absolute paths. The result is never nil, since JSON shows nil as null.
func absolutes(paths []string) []string {
	all := make([]string, len(paths))
	for i, path := range paths {
		all[i] = absolute(path)
	}
	return all
}

// listenerRows returns first the listeners that are served, and then the removed listeners that still
// have counts. Several sockets with the same name share their counts, which are in the first row.
func listenerRows(served []*systemd.Listener, stats []service.ListenerStats) (rows []admin.Listener) {
	counted, full := make(map[string]service.ListenerStats), make(map[string]bool)
	for _, l := range stats {
		counted[l.Name], full[l.Name] = l, l.Full
	}
	for _, l := range served {
		numbers, first := counted[l.Name()]
		if !first {
			numbers = sum(nil)
			numbers.Open, numbers.Full = true, full[l.Name()]
		}
		delete(counted, l.Name())
		numbers.Name = l.Name()
		row := listenerRow(numbers)
		row.Address, row.Origin, row.IPv6Only = l.Address(), l.Origin(), l.IPv6Only()
		if row.State == admin.Removed { // the listener is still in the configuration: it was not removed by a reload
			row.State = admin.Closed
		}
		rows = append(rows, row)
	}
	for _, l := range stats {
		if removed, ok := counted[l.Name]; ok {
			rows = append(rows, listenerRow(removed))
		}
	}
	return rows
}

func listenerRow(stats service.ListenerStats) admin.Listener {
	row := admin.Listener{
		Name: stats.Name, State: admin.Listening, Active: stats.Active, Lingering: stats.Lingering,
		Outcomes: stats.Visits, Reasons: stats.Reasons, GreetingBytes: stats.Bytes,
	}
	switch {
	case !stats.Open:
		row.State = admin.Removed
	case stats.Trouble != nil:
		row.State, row.Trouble = admin.Troubled, stats.Trouble.Error()
	case stats.Full:
		row.State = admin.Full
	}
	return row
}

// certificateOf returns the certificate of l. It returns nil if l serves no certificate.
func certificateOf(all []*certificate.Pair, l admin.Listener) *admin.Certificate {
	i := slices.IndexFunc(all, func(p *certificate.Pair) bool { return p.Listener == l.Name })
	if i < 0 || l.State == admin.Removed {
		return nil
	}
	served := all[i].Served()
	return &admin.Certificate{
		File: all[i].ChainFile, NotBefore: served.NotBefore, NotAfter: served.NotAfter,
		DaysLeft: int(math.Floor(time.Until(served.NotAfter).Hours() / 24)), SHA256: certificate.Fingerprint(served),
	}
}
