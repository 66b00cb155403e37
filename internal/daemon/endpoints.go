package daemon

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"greetd.example/internal/admin"
	"greetd.example/internal/build"
	"greetd.example/internal/logging"
	"greetd.example/internal/metrics"
	"greetd.example/internal/webconfig"
	"greetd.example/pkg/systemd"
)

// adminEndpoints are the addresses on which operators reach the daemon. Under systemd, one of them is
// always the socket in the runtime directory, so that `greetd reload` finds the daemon with any
// configuration. admin.address adds another one.
type adminEndpoints struct {
	server  *admin.Server
	failed  func(error)
	serving sync.WaitGroup

	mu   sync.Mutex
	open map[string]net.Listener // by address
}

// newAdmin returns the admin endpoints, which do not listen until reopen is called.
func (d *daemon) newAdmin() *adminEndpoints {
	failed := func(err error) { d.log.Event(logging.AdminTroubled, err.Error()) }
	return &adminEndpoints{
		failed: failed,
		open:   make(map[string]net.Listener),
		server: admin.New(admin.Daemon{
			Status:   d.snapshot,
			Reload:   d.reload,
			SetLevel: d.log.SetLevel,
			Metrics:  d.metrics.Handler(),
			Ready:    d.ready,
			Healthy:  d.healthy,
			Failed:   failed,
			Problems: d.log.Problems,

			Durations: d.metrics.Durations,
		}),
	}
}

// ControlAddress returns the admin address of a daemon with this runtime directory.
func ControlAddress(runtimeDirectory string) string {
	return "unix:" + runtimeDirectory + "/admin.sock"
}

// adminAddresses returns the addresses to listen on, if admin.address is configured; "" means that it
// is not set.
func adminAddresses(configured string) map[string]bool {
	addresses := make(map[string]bool)
	if directory := systemd.RuntimeDirectory(); directory != "" {
		addresses[ControlAddress(directory)] = true
	}
	if configured != "" {
		addresses[configured] = true
	}
	return addresses
}

// reopen listens on the addresses of the configuration, and closes all others. Clients over TCP must
// then meet the requirements of web (TLS, a password). If reopen returns an error, it has changed nothing.
func (a *adminEndpoints) reopen(configured string, web *webconfig.Config) error {
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
	a.server.Protect(web)
	for address, ln := range added {
		a.open[address] = ln
		a.serving.Go(func() { // close waits
			if err := a.server.Serve(ln); err != nil {
				a.failed(fmt.Errorf("admin at %s: %w", address, err))
			}
		})
	}
	return nil
}

// close closes the listeners, and waits at most a second for requests in progress.
func (a *adminEndpoints) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = a.server.Shutdown(ctx)
	a.serving.Wait()
}

func (d *daemon) newMetrics() *metrics.Metrics {
	b := build.Read()
	return metrics.New(metrics.Sources{
		Version: b.Version, Commit: b.Commit, Started: d.started,
		Listeners:    d.server.Stats,
		Limit:        func() int { return d.inForce().Limits.Connections },
		LogDropped:   d.log.Dropped,
		Reloads:      func() (applied, refused uint64) { return d.reloads.Load(), d.failedReloads.Load() },
		ReloadFailed: func() bool { return d.inForce().lastReload.Refused() },
		Generation:   func() uint64 { return d.inForce().generation },
		Certificates: func() map[string]time.Time {
			ends := make(map[string]time.Time)
			for _, p := range d.inForce().settings.Certificates {
				ends[p.Listener] = p.Served().NotAfter
			}
			return ends
		},
	})
}
