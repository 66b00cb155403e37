package doctor

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"

	"greetd.example/internal/admin"
	"greetd.example/internal/config"
)

// Facts are the observations about a machine, its systemd and its greetd. Findings depend on nothing else. A
// nil means that something does not exist, or that this caller can't see it; the comments say which.
type Facts struct {
	Now         time.Time
	Root        bool     // the caller is root
	Container   string   // the kind of container that this machine is, such as systemd-nspawn; "" if it is none
	Unseen      []string // things that could not be looked at, with the reasons
	Systemd     Systemd
	Daemon      *admin.Status // the status that greetd reports, without listeners that are gone; nil: it does not answer
	Address     string        // at which Daemon was asked; if it does not answer, the last address that was tried
	Silence     error         // the reason, if Daemon is nil
	AdminSocket *File         // the unix socket at which Daemon was asked; nil: it is no unix socket, or can't be seen
	Process     *Process      // the process of greetd, or before its start that of the caller; nil: none can be seen
	Unit        Unit          // the unit of the process, or else the unit that would start it
	Sockets     []Unit        // the socket units for Unit
	Stale       []Credential  // credentials of Unit whose files have changed since systemd passed them
	Config      Config        // the configuration that a daemon would load if it started now
	Listening   []Socket      // TCP sockets in the network namespace of the caller; nil: can't be seen
	Trials      []Trial       // of the TCP listeners of Unit and Sockets
	Reached     []Reach       // the unix sockets of the daemon that were tried
	Somaxconn   int           // net.core.somaxconn; 0: can't be seen
	Journald    RateLimit
	Journal     string // the reason why journald does not answer; "" if it does, or is not used
	Syslog      string // the reason why /dev/log does not answer; "" if it does, or is not used
	Namesake    Namesake
}

// Systemd has the facts about the service manager of the machine, and the results of its tools for Unit.
type Systemd struct {
	Booted     bool     // systemd runs this machine
	Version    int      // 0: systemd could not be asked
	Trouble    string   // the reason, if Version is 0
	User       bool     // Unit belongs to the manager of a user (systemctl --user)
	Verify     []string // the lines of systemd-analyze verify
	Open       []string // the protections that systemd-analyze security reports as missing; nil: unknown
	ExitStatus string   // the name of Unit.ExecMainStatus, such as EXEC for 203; "" for none
}

// A Process has the facts about a process from /proc.
type Process struct {
	PID      int
	Self     bool // it is the process of the caller, which the unit started before greetd (ExecStartPre=)
	UID      int
	GIDs     []int    // the first is the effective one
	MaxFiles uint64   // RLIMIT_NOFILE; 0: can't be seen
	Unit     string   // the unit that it belongs to; "" for none
	Environ  []string // nil: the caller is neither root nor the user of the process
}

// A Unit has the properties of a service or socket unit. The fields have the names of the properties on D-Bus:
// see org.freedesktop.systemd1(5). If LoadState is "", systemd could not be asked.
type Unit struct {
	Name string

	Names, DropInPaths, Requires, TriggeredBy                     []string
	LoadState, ActiveState, SubState, UnitFileState, FragmentPath string
	Slice                                                         string
	NeedDaemonReload, DynamicUser                                 bool
	Type, NotifyAccess, Restart, Result, StatusText, User         string
	StandardOutput, StandardError                                 string
	ExecStart, ExecReload                                         [][]any // the path, the arguments, …
	RuntimeDirectory, Environment                                 []string
	RestrictAddressFamilies                                       []any // whether the families are allowed or forbidden, and the families
	IPAddressAllow, IPAddressDeny                                 [][]any
	LoadCredential                                                [][]any // name and source
	RefreshOnReload                                               any     // from systemd 260 on

	ExecMainStatus                               int
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
}

// unset is the value of systemd for a number that is not set, and for infinity.
const unset = math.MaxUint64

// A Span is a duration in microseconds, as systemd has it.
type Span uint64

func (s Span) duration() time.Duration {
	return time.Duration(min(uint64(s), math.MaxInt64/1000)) * time.Microsecond
}

func (u *Unit) loaded() bool { return u.LoadState == "loaded" }
func (u *Unit) active() bool { return u.ActiveState == "active" || u.ActiveState == "reloading" }

// starting reports whether systemd is starting u, or will soon start it again.
func (u *Unit) starting() bool { return u.ActiveState == "activating" }

// down reports whether u neither runs nor is being started.
func (u *Unit) down() bool { return u.ActiveState == "inactive" || u.ActiveState == "failed" }

// streams returns the addresses of ListenStream= of a socket unit.
func (u *Unit) streams() []string {
	var all []string
	for _, l := range u.Listen {
		if len(l) == 2 && l[0] == "Stream" {
			all = append(all, fmt.Sprint(l[1]))
		}
	}
	return all
}

// command returns the path and the arguments of the first command of a setting such as ExecStart=. args[0]
// is the path, too.
func command(commands [][]any) (path string, args []string) {
	if len(commands) == 0 || len(commands[0]) < 2 {
		return "", nil
	}
	path, _ = commands[0][0].(string)
	args, _ = commands[0][1].([]string)
	return path, args
}

// allowsFamily reports whether RestrictAddressFamilies= allows the address family. An empty list allows all.
func (u *Unit) allowsFamily(family string) bool {
	if len(u.RestrictAddressFamilies) != 2 {
		return true
	}
	allowed, _ := u.RestrictAddressFamilies[0].(bool)
	families, _ := u.RestrictAddressFamilies[1].([]string)
	return slices.Contains(families, family) == allowed || !allowed && len(families) == 0
}

// prefixes returns the prefixes of IPAddressAllow= or IPAddressDeny=, whose elements are family, address and
// length.
func prefixes(property [][]any) (all []netip.Prefix) {
	for _, p := range property {
		if len(p) != 3 {
			continue
		}
		address, _ := p[1].([]byte)
		length, _ := p[2].(uint32)
		ip, ok := netip.AddrFromSlice(address)
		if prefix := netip.PrefixFrom(ip, int(length)); ok && !slices.Contains(all, prefix) {
			all = append(all, prefix)
		}
	}
	return all
}

// A Config is the configuration, or the reasons why there is none.
type Config struct {
	config.Loaded // has only Path if the configuration is not valid

	File         *File // nil: there is none; its Changed is that of the newest drop-in, if this is newer
	Problems     []string
	Forbidden    bool // the caller has no permission to read the file
	Certificates []Certificate
	Warnings     []string // about values that are valid, but do not fit the unit, each as "finding; remedy"
	Hidden       bool     // certificates are credentials, which this caller can't read
}

func (c *Config) valid() bool { return len(c.Problems) == 0 && !c.Forbidden }

// A Certificate describes the certificate of a listener in its file.
type Certificate struct {
	Listener, Path      string
	NotBefore, NotAfter time.Time
	SHA256              string // its fingerprint
	Credential          bool   // the unit gets it from systemd
}

// A File has the permissions and the time of the configuration file or of a socket.
type File struct {
	Mode     uint32 // permission bits
	UID, GID int
	Changed  time.Time
}

// A Socket is a listening TCP socket.
type Socket struct {
	Address netip.AddrPort
	Backlog int    // maximum number of clients that can wait
	PID     int    // of the process that has the socket; 0: unknown, for example because the caller is not root
	Program string // the name of this process
	Unit    string // the unit of this process, or the unit for which process 1 has the socket; "" if it is unknown
}

// A RateLimit is the rate limit of journald: Burst entries in each Interval. If one of them is 0, there is no
// limit.
type RateLimit struct {
	Known    bool // the limit could be read
	Interval time.Duration
	Burst    int
}

// A Namesake has the traces of greetd, the login manager with the same name.
type Namesake struct {
	Package  string   // the state of the package greetd in dpkg: installed, config-files, …; "" if it is unknown to dpkg
	Programs []string // files named greetd that are other programs
	PAM      bool     // /etc/pam.d/greetd exists
	Display  bool     // display-manager.service is Unit
}

func (f *Facts) unseen(format string, args ...any) {
	f.Unseen = append(f.Unseen, fmt.Sprintf(format, args...))
}
