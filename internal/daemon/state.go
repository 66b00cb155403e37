package daemon

import (
	"sync"
	"sync/atomic"
	"time"

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
	notify    *systemd.Notifier
	log       *logging.Log
	metrics   *metrics.Metrics
	server    *service.Server
	sources   access.Sources
	listeners *listeners.Set
	admin     *adminEndpoints
	memory    int64 // limit of the control group, in bytes; 0: none, or GOMEMLIMIT is set

	state   atomic.Int32 // a state
	current atomic.Pointer[current]

	reloading     sync.Mutex // held by a reload
	reloads       atomic.Uint64
	failedReloads atomic.Uint64
}

// current is the configuration in force. It does not change; a reload replaces it.
type current struct {
	config.Loaded
	settings   settings.Settings
	generation uint64 // counts the configurations that were applied
	since      time.Time
	lastReload *admin.Reload
}

// inForce is the current configuration; the zero value before the first.
func (d *daemon) inForce() current {
	if now := d.current.Load(); now != nil {
		return *now
	}
	return current{}
}

// A state is a step of the daemon's life.
type state int32

const (
	starting state = iota
	running
	reloading
	draining
)

func (s state) String() string {
	return string([...]admin.State{admin.Starting, admin.Running, admin.Reloading, admin.Draining}[s])
}

func (d *daemon) inState() state { return state(d.state.Load()) }

func (d *daemon) setState(s state) { d.state.Store(int32(s)) }

// change goes from one state to another, and reports whether it was in the first.
func (d *daemon) change(from, to state) bool { return d.state.CompareAndSwap(int32(from), int32(to)) }
