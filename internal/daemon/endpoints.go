package daemon

import (
	"net"
	"time"

	"greetd.example/internal/admin"
	"greetd.example/internal/build"
	"greetd.example/internal/logging"
	"greetd.example/internal/metrics"
)

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
