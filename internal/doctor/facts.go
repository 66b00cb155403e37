package doctor

import (
	"net/netip"
	"strings"
	"time"
)

// Facts are what was seen of a machine, its systemd and its greetd. A nil says that
// something is not there, or that this caller may not look; comments tell which.
type Facts struct {
	Root      bool      // root asks
	Container string    // what this machine is a container of, such as systemd-nspawn; "" if it is none
	Systemd   Systemd   // the service manager
	Daemon    *Daemon   // what greetd says of itself; nil: it doesn't
	Silence   Silence   // why not
	Process   *Process  // greetd's, or the caller's own before the start; nil: none that can be seen
	Unit      Unit      // the unit of the process, or else the one that would start it
	Sockets   []Unit    // the socket units that are there for Unit
	Config    Config    // as a daemon that starts now would load it
	Backlogs  []Backlog // of all TCP sockets that listen in the caller's network; nil: can't be seen
	Somaxconn int       // net.core.somaxconn; 0: can't be seen
	Journald  RateLimit // for units without their own
	Namesake  Namesake

	// DescriptorsBeside is how many greetd needs apart from its clients.
	DescriptorsBeside int
}

// Systemd is the service manager of the machine.
type Systemd struct {
	Booted  bool   // it runs here at all
	Version int    // 0: it doesn't tell
	Trouble string // why it doesn't tell; "" if it does
	User    bool   // Unit is one of a user's own manager (systemctl --user)
}

// Silence is why the daemon says nothing.
type Silence struct {
	Forbidden bool   // the caller may not ask
	Nobody    bool   // nobody listens
	Address   string // where it was asked last
	Reason    string // one sentence
}

// A Daemon is what greetd says of itself.
type Daemon struct {
	Version        string
	PID            int
	State          string
	Ready          bool
	Generation     uint64    // of the configuration
	Loaded         time.Time // when it loaded that
	Refused        string    // why the last reload changed nothing; "" if it did, or if there was none
	Listeners      []Listener
	LogOutput      string // journald, syslog, stdout or stderr
	LogDropped     uint64
	MaxConnections int // 0: no limit
	Descriptors    uint64
}

// A Listener is one socket that a daemon serves.
type Listener struct {
	Name    string
	Address string
	Origin  string // OwnBind, FDStore or SocketUnit
	Trouble string // why accepting fails; "" if it does not
}

// The origins of a listener, as greetd says them.
const (
	OwnBind    = "own bind"
	FDStore    = "fd store"
	SocketUnit = "socket unit"
)

// A Process is one, as /proc shows it.
type Process struct {
	PID          int
	Self         bool   // the caller's own, started by the unit before greetd itself (ExecStartPre=)
	Group        string // the last part of its control group: greetd.service, session-1.scope; "" for none
	Manager      int    // the user whose systemd that belongs to; -1 for the system's
	UID          int
	GIDs         []int // the first is the effective one
	NoNewPrivs   bool
	Filtered     bool   // by seccomp
	Capabilities uint64 // the effective ones
	MaxFiles     uint64
	ReadOnlyRoot *bool             // nil: can't be seen
	Environ      map[string]string // nil: only root and its user may look
	OwnNetwork   *bool             // not that of process 1; nil: only root may look
	OwnUsers     *bool             // a user namespace; nil: only root may look
}

// A Unit is its properties, as `systemctl show` prints them; repeated ones have a line
// for each. Without any, systemd could not be asked.
type Unit struct {
	Name        string
	Properties  map[string]string
	Filtering   *bool    // its address filters are in the kernel; nil: it doesn't run, or only root may look
	Controllers []string // those of its control group, or of all if it doesn't run; nil: can't be seen
}

func (u *Unit) loaded() bool { return u.Properties["LoadState"] == "loaded" }
func (u *Unit) active() bool {
	return u.Properties["ActiveState"] == "active" || u.Properties["ActiveState"] == "reloading"
}
func (u *Unit) is(property string) bool        { return u.Properties[property] == "yes" }
func (u *Unit) words(property string) []string { return strings.Fields(u.Properties[property]) }

// A Config is what doctor needs to know of the configuration.
type Config struct {
	Path      string
	File      *File // nil: there is none
	Problems  []string
	Forbidden bool // the caller may not read it
	MaxConns  int
	AdminSet  bool // admin.address is set
	LogOutput string
	LogVisits string
	LogRate   int
	LogBurst  int
	Listeners int
	Valid     bool // there is one: without Problems, and not Forbidden
}

// A File is the configuration's.
type File struct {
	Mode     uint32 // permission bits
	UID, GID int
	Changed  time.Time
}

// A Backlog is how many clients may wait at a TCP socket.
type Backlog struct {
	Address netip.AddrPort
	Max     int
}

// A RateLimit is journald's: Burst entries in each Interval; 0 in either is no limit.
type RateLimit struct {
	Known    bool // it could be seen
	Interval time.Duration
	Burst    int
}

// A Namesake is what was seen of greetd, the login manager.
type Namesake struct {
	Package  string   // what dpkg says of the package greetd: installed, config-files, …; "" if it doesn't know it
	Programs []string // files named greetd that are other programs
	PAM      bool     // /etc/pam.d/greetd exists
}
