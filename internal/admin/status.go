package admin

import (
	"fmt"
	"strings"
	"time"

	"greetd.example/pkg/service"
	"greetd.example/pkg/systemd"
)

// A Status is a snapshot of a daemon. Counts are since its start, and they never
// fall: the totals include listeners that a reload has removed.
type Status struct {
	Health        Health        `json:"health"` // by the Server
	Version       string        `json:"version"`
	Commit        string        `json:"commit"` // "" if it was built outside a repository
	GoVersion     string        `json:"go_version"`
	Hostname      string        `json:"hostname"`
	PID           int           `json:"pid"`
	State         systemd.State `json:"state"`
	Ready         bool          `json:"ready"` // as GET /readyz says
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

// A Configuration says which one is in force, and how the last reload went.
type Configuration struct {
	Path       string    `json:"path"`        // absolute; "" if the defaults serve without a file
	DropIns    []string  `json:"drop_ins"`    // of Path, absolute, in the order in which they were merged
	Generation uint64    `json:"generation"`  // counts the configurations that were applied, from 1
	Loaded     time.Time `json:"loaded"`      // when this one was
	LastReload *Reload   `json:"last_reload"` // nil if there was none
}

// A Reload is how one ended.
type Reload struct {
	At    time.Time `json:"at"`
	OK    bool      `json:"ok"`
	Error string    `json:"error"` // why the previous configuration was kept; "" if OK
}

// A Listener is one address that clients come to, and what came of them.
type Listener struct {
	Name          string         `json:"name"`
	Address       string         `json:"address"`   // the actual one: port 0 is resolved
	IPv6Only      bool           `json:"ipv6_only"` // it has all IPv6 addresses, and no IPv4
	Origin        systemd.Origin `json:"origin"`
	State         ListenerState  `json:"state"`
	Trouble       string         `json:"trouble"`   // why accepting fails; "" if it does not
	Active        int            `json:"active"`    // visits under way
	Lingering     int            `json:"lingering"` // greeted, and waiting for the client to hang up
	Outcomes      Outcomes       `json:"outcomes"`
	Reasons       Reasons        `json:"reasons"`
	GreetingBytes uint64         `json:"greeting_bytes"`
	Certificate   *Certificate   `json:"certificate"` // nil: it has no TLS

	ConnectionsLimit int      `json:"connections_limit"` // of active ones, its own; 0: that of all alone
	VisitsPerSecond  float64  `json:"visits_per_second"` // in the last minute, by the Server
	GreetedRatio     *float64 `json:"greeted_ratio"`     // of the clients of the last minute that should be greeted, those that were; nil: there were none
}

// Place is the address, with what it does not say itself.
func (l Listener) Place() string {
	if l.IPv6Only {
		return l.Address + " (IPv6 only)"
	}
	return l.Address
}

// A Certificate is the one that a listener serves.
type Certificate struct {
	File      string    `json:"file"` // as in the configuration
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	DaysLeft  int       `json:"days_left"` // whole ones; below 0 when it has expired
	SHA256    string    `json:"sha256"`    // its fingerprint, in hexadecimal digits
}

// A ListenerState says whether a listener accepts connections.
type ListenerState string

// The last two are for good.
const (
	Listening ListenerState = "listening"
	Full      ListenerState = "full"    // limits.connections is reached: clients wait in the backlog
	Troubled  ListenerState = "trouble" // accepting fails, and is tried again
	Closed    ListenerState = "closed"  // by the drain
	Removed   ListenerState = "removed" // by a reload; its counts stay
)

// Gone reports whether the listener accepts no client any more.
func (s ListenerState) Gone() bool { return s == Closed || s == Removed }

// Outcomes counts the visits by how they ended, with all outcomes present.
type Outcomes map[service.Outcome]uint64

// Reasons counts the visits that were not greeted by outcome and then by reason, with all
// reasons of each outcome present.
type Reasons map[service.Outcome]map[service.Reason]uint64

// Words names the reasons that occurred with their numbers; "" if none did.
func (r Reasons) Words() string {
	var words []string
	for outcome, reason := range allReasons {
		if n := r[outcome][reason]; n > 0 {
			words = append(words, fmt.Sprintf("%s %s (%s)", count(n), strings.ReplaceAll(string(outcome), "_", " "), reason))
		}
	}
	return strings.Join(words, ", ")
}

// Connections counts the open ones of all listeners.
type Connections struct {
	Active    int `json:"active"`    // visits under way
	Lingering int `json:"lingering"` // greeted, and waiting for the client to hang up
}

// A Log says where the log goes and what did not get there.
type Log struct {
	Output     string `json:"output"` // journald, syslog, stdout or stderr
	Level      string `json:"level"`
	Dropped    uint64 `json:"dropped"`    // entries lost because the receiver was too slow
	Suppressed uint64 `json:"suppressed"` // visits in summaries instead of entries of their own
}

// Limits are those in force; 0 means none.
type Limits struct {
	Connections          int     `json:"connections"`
	PerSourceConnections int     `json:"per_source_connections"`
	PerSourceRate        float64 `json:"per_source_rate"` // a second
	Descriptors          uint64  `json:"descriptors"`     // open files for the process (RLIMIT_NOFILE)
}
