package doctor

import (
	"fmt"
	"io/fs"
	"math"
	"net/netip"
	"slices"
	"time"

	"greetd.example/pkg/systemd"
)

// Facts are what was seen of a machine, its systemd and its greetd. Findings are made
// from them alone. A nil says that something is not there, or that this caller may not
// see it; comments say which.
type Facts struct {
	Now         time.Time
	Root        bool     // root asks
	Container   string   // what this machine is a container of, such as systemd-nspawn; "" if it is none
	Unseen      []string // what could not be looked at, and why
	Systemd     Systemd
	Daemon      *Daemon      // what greetd says of itself; nil: it doesn't
	Silence     Silence      // why not
	AdminSocket *File        // the unix socket at which Daemon was asked; nil: it is none, or can't be seen
	Process     *Process     // greetd's, or the caller's own before the start; nil: none that can be seen
	Unit        Unit         // the unit of the process, or else the one that would start it
	Sockets     []Unit       // the socket units that are there for Unit
	Stale       []Credential // of Unit, whose files have changed since systemd passed them
	Config      Config       // as a daemon that starts now would load it
	Listening   []Socket     // TCP, in the caller's network namespace; nil: can't be seen
	Trials      []Trial      // of the TCP listeners of Unit and Sockets
	Reached     []Reach      // the unix sockets of the daemon that were tried
	Somaxconn   int          // net.core.somaxconn; 0: can't be seen
	Journald    RateLimit
	Journal     string // why journald does not answer; "" if it does, or is not used
	Syslog      string // why /dev/log does not answer; "" if it does, or is not used
	Namesake    Namesake

	// DescriptorsBeside is how many greetd needs apart from its clients.
	DescriptorsBeside int
}

// Systemd is the service manager of the machine, and what its tools say of Unit.
type Systemd struct {
	Booted     bool     // it runs here at all
	Version    int      // 0: it could not be asked
	Trouble    string   // why not
	User       bool     // Unit is one of a user's own manager (systemctl --user)
	Verify     []string // the lines of systemd-analyze verify
	Open       []string // what systemd-analyze security finds open; nil: not looked at
	ExitStatus string   // the name of Unit.ExecMainStatus, such as EXEC for 203; "" for none
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
	Asked          string // the address at which it answered
	Path           string // of its configuration; "" without a file
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
	Origin  systemd.Origin
	Trouble string // why accepting fails; "" if it does not

	Mode  fs.FileMode // of a unix socket in the configuration
	Group string

	Certificate string // fingerprint of the one that is served; "" without TLS, or if that is not known
}

// A Process is one, as /proc shows it.
type Process struct {
	PID      int
	Self     bool // the caller's own, started by the unit before greetd itself (ExecStartPre=)
	UID      int
	GIDs     []int             // the first is the effective one
	MaxFiles uint64            // RLIMIT_NOFILE; 0: can't be seen
	Unit     string            // that it belongs to; "" for none
	Environ  map[string]string // nil: only root and its user may look
}

// A Unit has the properties of a service or socket unit, by the names that they have on
// D-Bus: see org.freedesktop.systemd1(5). Without a LoadState systemd could not be asked.
type Unit struct {
	Name string

	Names, DropInPaths, Requires, TriggeredBy                     []string
	LoadState, ActiveState, SubState, UnitFileState, FragmentPath string
	Slice, ControlGroup                                           string
	NeedDaemonReload, DynamicUser                                 bool
	Type, NotifyAccess, Restart, Result, StatusText, User         string
	StandardOutput, StandardError                                 string
	ExecStart, ExecReload                                         [][]any // the path, the arguments, …
	RuntimeDirectory, Environment                                 []string
	RestrictAddressFamilies                                       []any // are they those allowed, and which
	IPAddressAllow, IPAddressDeny                                 [][]any
	LoadCredential                                                [][]any // name and source
	RefreshOnReload                                               any     // from systemd 260 on

	ExecMainCode, ExecMainStatus                 int
	MainPID, NRestarts                           int
	FileDescriptorStoreMax, NFileDescriptorStore int
	FileDescriptorStorePreserve                  string // from systemd 254 on
	StartLimitBurst, TriggerLimitBurst           int
	LogRateLimitBurst                            int
	LimitNOFILE, MemoryMax, MemoryCurrent        uint64
	TasksMax, TasksCurrent, IPIngressBytes       uint64
	WatchdogUSec, StartLimitIntervalUSec         Span
	LogRateLimitIntervalUSec, TimeoutStartUSec   Span
	DeferAcceptUSec, TriggerLimitIntervalUSec    Span

	Listen  [][]any // of a socket unit: Stream, the address
	Accept  bool
	Backlog int

	SocketMode uint32

	group uint64 // the number that the kernel has for ControlGroup; 0: none, or can't be seen
}

// unset is what systemd says where it has no number, and for infinity.
const unset = math.MaxUint64

// A Span is a time in microseconds, as systemd counts.
type Span uint64

func (s Span) duration() time.Duration {
	return time.Duration(min(uint64(s), math.MaxInt64/1000)) * time.Microsecond
}

func (u *Unit) loaded() bool { return u.LoadState == "loaded" }
func (u *Unit) active() bool { return u.ActiveState == "active" || u.ActiveState == "reloading" }

// starting reports whether systemd is about to start u, again or for the first time.
func (u *Unit) starting() bool { return u.ActiveState == "activating" }

// down reports whether u neither runs nor is about to.
func (u *Unit) down() bool { return u.ActiveState == "inactive" || u.ActiveState == "failed" }

// streams are the addresses that a socket unit listens at.
func (u *Unit) streams() []string {
	var all []string
	for _, l := range u.Listen {
		if len(l) == 2 && l[0] == "Stream" {
			all = append(all, fmt.Sprint(l[1]))
		}
	}
	return all
}

// command is the path and the arguments of the first of commands such as ExecStart=.
func command(commands [][]any) (path string, args []string) {
	if len(commands) == 0 || len(commands[0]) < 2 {
		return "", nil
	}
	path, _ = commands[0][0].(string)
	args, _ = commands[0][1].([]string)
	return path, args
}

// allowsFamily reads RestrictAddressFamilies=. An empty list allows all.
func (u *Unit) allowsFamily(family string) bool {
	if len(u.RestrictAddressFamilies) != 2 {
		return true
	}
	allowed, _ := u.RestrictAddressFamilies[0].(bool)
	families, _ := u.RestrictAddressFamilies[1].([]string)
	return slices.Contains(families, family) == allowed || !allowed && len(families) == 0
}

// prefixes reads IPAddressAllow= or IPAddressDeny=: family, address, length.
func prefixes(property [][]any) []string {
	var all []string
	for _, p := range property {
		if len(p) != 3 {
			continue
		}
		address, _ := p[1].([]byte)
		length, _ := p[2].(uint32)
		ip, ok := netip.AddrFromSlice(address)
		if prefix := netip.PrefixFrom(ip, int(length)).String(); ok && !slices.Contains(all, prefix) {
			all = append(all, prefix)
		}
	}
	return all
}

// A Config is what doctor needs to know of the configuration.
type Config struct {
	Path         string
	DropIns      []string // those of Path
	File         *File    // nil: there is none; Changed is that of the newest drop-in, if it is newer
	Problems     []string
	Forbidden    bool // the caller may not read it
	MaxConns     int
	AdminSet     bool // admin.address is set
	LogOutput    string
	LogVisits    string
	LogRate      int
	LogBurst     int
	Listeners    []Listener // Name and Address
	Certificates []Certificate
	Warnings     []string // what is valid, and not meant in this unit, each as "what is so; remedy"
	Hidden       bool     // certificates are credentials, which this caller can't read
	Valid        bool     // there is one: without Problems, and not Forbidden
}

// A Certificate is that of a listener, as it is on disk.
type Certificate struct {
	Listener, Path      string
	NotBefore, NotAfter time.Time
	SHA256              string // its fingerprint
	Credential          bool   // the unit gets it from systemd
}

// A File is the configuration's.
type File struct {
	Mode     uint32 // permission bits
	UID, GID int
	Changed  time.Time
}

// A Socket listens for TCP.
type Socket struct {
	Address netip.AddrPort
	Backlog int    // how many clients may wait
	PID     int    // of the process that has it; 0: only root may look
	Program string // the name of that process
	Unit    string // that the process belongs to, or that process 1 has the socket for; "" if it is not known
	Group   uint64 // the control group that it was made in, as the kernel numbers it; 0: it does not say
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
	Display  bool     // display-manager.service is Unit
}
