package daemon

import (
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"greetd.example/internal/access"
	"greetd.example/internal/admin"
	"greetd.example/internal/config"
	"greetd.example/internal/listeners"
	"greetd.example/internal/logging"
	"greetd.example/internal/metrics"
	"greetd.example/internal/settings"
	"greetd.example/pkg/service"
	"greetd.example/pkg/systemd"
)

// daemon is one running greetd.
type daemon struct {
	source    config.Source
	started   time.Time
	systemd   *systemd.Service // sockets, notifications, and the state
	log       *logging.Log
	metrics   *metrics.Metrics
	server    *service.Server
	sources   access.Sources
	listeners *listeners.Set
	admin     *adminEndpoints
	proving   singleflight.Group // used by healthy alone
	memory    int64              // limit of the control group, in bytes; 0: none, or GOMEMLIMIT is set

	newCertificates chan struct{} // receives a value after a reload, which can change the certificates

	current       atomic.Pointer[current]
	reloads       atomic.Uint64 // successful ones
	failedReloads atomic.Uint64
}

// current is the configuration in force. It does not change; a reload replaces it.
type current struct {
	config.Loaded
	settings   settings.Settings
	generation uint64 // number of this configuration: 1 at the start, one more after each reload
	since      time.Time
	lastReload *admin.Reload
}

// inForce returns the configuration in force. It returns the zero value before the first one.
func (d *daemon) inForce() current {
	if now := d.current.Load(); now != nil {
		return *now
	}
	return current{}
}
