package admin

import (
	"fmt"
	"strings"
	"time"

	"greetd.example/pkg/service"
	"greetd.example/pkg/systemd"
)

// A Status is a snapshot of a daemon. The counts begin at its start and never decrease: the totals include
// listeners that a reload has removed.
type Status struct {
	Health        Health        `json:"health"` // set by the Server
	Version       string        `json:"version"`
	Commit        string        `json:"commit"` // "" if it was built outside a repository
	GoVersion     string        `json:"go_version"`
	Hostname      string        `json:"hostname"`
	PID           int           `json:"pid"`
	State         systemd.State `json:"state"`
	Ready         bool          `json:"ready"` // true if GET /readyz answers 200
	Started       time.Time     `json:"started"`
	UptimeSeconds float64       `json:"uptime_seconds"`
	Configuration Configuration `json:"configuration"`
	Listeners     []Listener    `json:"listeners"` // in the order of the configuration, removed ones last
	Outcomes      Outcomes      `json:"outcomes"`  // visits that have ended, of all listeners
	Reasons       Reasons       `json:"reasons"`   // the visits that were not greeted, of all listeners
	GreetingBytes uint64        `json:"greeting_bytes"`
	Connections   Connections   `json:"connections"`
	Log           Log           `json:"log"`
	Limits        Limits        `json:"limits"`
}

// A Configuration describes the configuration in force, and the last reload.
type Configuration struct {
	Path       string    `json:"path"`        // absolute; "" if no file was read
	DropIns    []string  `json:"drop_ins"`    // of Path, absolute, in the order in which they were merged
	Generation uint64    `json:"generation"`  // number of the configuration: 1 at the start, one more after each reload
	Loaded     time.Time `json:"loaded"`      // time when the configuration was loaded
	LastReload *Reload   `json:"last_reload"` // nil if there was none
}

// A Reload is the result of a reload, with its time.
type Reload struct {
	At    time.Time `json:"at"`
	OK    bool      `json:"ok"`
	Error string    `json:"error"` // the reason why the previous configuration was kept; "" if OK
}

// Refused reports whether there was a reload, and it was refused.
func (r *Reload) Refused() bool { return r != nil && !r.OK }

// A Listener is one address that greetd serves, with the counts of its visits.
type Listener struct {
	Name          string         `json:"name"`
	Address       string         `json:"address"`   // the actual address, with the actual port instead of port 0
	IPv6Only      bool           `json:"ipv6_only"` // bound to all IPv6 addresses, but to no IPv4 address
	Origin        systemd.Origin `json:"origin"`
	State         ListenerState  `json:"state"`
	Trouble       string         `json:"trouble"`   // the reason why accept fails; "" if it does not fail
	Active        int            `json:"active"`    // number of visits in progress
	Lingering     int            `json:"lingering"` // number of greeted clients that have not hung up yet
	Outcomes      Outcomes       `json:"outcomes"`
	Reasons       Reasons        `json:"reasons"`
	GreetingBytes uint64         `json:"greeting_bytes"`
	Certificate   *Certificate   `json:"certificate"` // nil if the listener has no TLS

	ConnectionsLimit int      `json:"connections_limit"` // maximum number of active visits of this listener; 0: only limits.connections applies
	VisitsPerSecond  float64  `json:"visits_per_second"` // in the last minute; set by the Server
	GreetedRatio     *float64 `json:"greeted_ratio"`     // share of greeted clients among those of the last minute that should be greeted; nil if there were none; set by the Server
}

// Place returns the address, followed by "(IPv6 only)" if it has no IPv4 address.
func (l Listener) Place() string {
	if l.IPv6Only {
		return l.Address + " (IPv6 only)"
	}
	return l.Address
}

// A Certificate describes the certificate that a listener serves.
type Certificate struct {
	File      string    `json:"file"` // as in the configuration
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	DaysLeft  int       `json:"days_left"` // number of whole days; below 0 when it has expired
	SHA256    string    `json:"sha256"`    // its fingerprint, in hexadecimal digits
}

// A ListenerState says whether a listener accepts connections.
type ListenerState string

// The states of a listener. A listener never leaves the last two, Closed and Removed.
const (
	Listening ListenerState = "listening"
	Full      ListenerState = "full"    // limits.connections is reached: clients wait in the backlog
	Troubled  ListenerState = "trouble" // accept fails, and is tried again
	Closed    ListenerState = "closed"  // by the drain
	Removed   ListenerState = "removed" // by a reload; its counts stay
)

// Gone reports whether the listener accepts no client any more.
func (s ListenerState) Gone() bool { return s == Closed || s == Removed }

// Outcomes has the number of visits with each outcome. Every outcome has an entry.
type Outcomes map[service.Outcome]uint64

// Reasons has the number of visits that were not greeted, by outcome and then by reason. Every reason of
// each outcome has an entry.
type Reasons map[service.Outcome]map[service.Reason]uint64

// Words returns the reasons that have occurred, with their numbers; "" if none has.
func (r Reasons) Words() string {
	var words []string
	for outcome, reason := range allReasons {
		if n := r[outcome][reason]; n > 0 {
			words = append(words, fmt.Sprintf("%s %s (%s)", count(n), strings.ReplaceAll(string(outcome), "_", " "), reason))
		}
	}
	return strings.Join(words, ", ")
}

// Connections has the number of open connections of all listeners.
type Connections struct {
	Active    int `json:"active"`    // number of visits in progress
	Lingering int `json:"lingering"` // number of greeted clients that have not hung up yet
}

// A Log describes the output of the log, and the entries that it does not have.
type Log struct {
	Output     string `json:"output"` // journald, syslog, stdout or stderr
	Level      string `json:"level"`
	Dropped    uint64 `json:"dropped"`    // number of entries lost because the output was too slow
	Suppressed uint64 `json:"suppressed"` // number of visits that are only counted in summaries
}

// Limits are the limits in force; 0 means no limit.
type Limits struct {
	Connections          int     `json:"connections"`
	PerSourceConnections int     `json:"per_source_connections"`
	PerSourceRate        float64 `json:"per_source_rate"` // visits a second
	Descriptors          uint64  `json:"descriptors"`     // open files of the process (RLIMIT_NOFILE)
}

// allReasons yields each reason with its outcome.
func allReasons(yield func(service.Outcome, service.Reason) bool) {
	for _, outcome := range service.Outcomes() {
		for _, reason := range outcome.Reasons() {
			if !yield(outcome, reason) {
				return
			}
		}
	}
}
