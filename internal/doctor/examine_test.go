package doctor

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"greetd.example/internal/admin"
	"greetd.example/internal/config"
	"greetd.example/pkg/systemd"
)

// places are machines on which everything is right: a systemd, and who binds.
var places = []string{"252-own", "252-socket", "257-own", "257-socket"}

// everywhere is the prefix of IPv4 and that of IPv6 that hold all addresses, as D-Bus has
// them.
func everywhere() [][]any {
	return [][]any{{int32(2), make([]byte, 4), uint32(0)}, {int32(10), make([]byte, 16), uint32(0)}}
}

func networks(prefixes ...string) [][]any {
	var all [][]any
	for _, p := range prefixes {
		prefix := netip.MustParsePrefix(p)
		all = append(all, []any{int32(2), prefix.Addr().AsSlice(), uint32(prefix.Bits())})
	}
	return all
}

func executes(words ...string) [][]any {
	if len(words) == 0 {
		return nil
	}
	return [][]any{{words[0], words, false, uint64(0), uint64(0), uint64(0), uint64(0), uint32(0), int32(0), int32(0)}}
}

// well returns the facts of one of places.
func well(place string) Facts {
	version, mode, _ := strings.Cut(place, "-")
	number, _ := strconv.Atoi(version)
	origin, state, allowed := systemd.OwnBind, "inactive", everywhere()
	if mode == "socket" {
		origin, state, allowed = systemd.SocketUnit, "active", nil
	}
	loaded := time.Date(2026, 11, 23, 3, 0, 0, 0, time.UTC)
	f := Facts{
		Now:     loaded.Add(time.Hour),
		Root:    true,
		Systemd: Systemd{Booted: true, Version: number, Open: []string{}},
		Address: "unix:/run/greetd/admin.sock",
		Daemon: &admin.Status{
			Version: "1.0", PID: 42, State: systemd.Running, Ready: true,
			Configuration: admin.Configuration{Path: "/etc/greetd/greetd.yaml", Generation: 1, Loaded: loaded},
			Listeners:     []admin.Listener{{Name: "greet", Address: "[::]:10000", Origin: origin}},
			Log:           admin.Log{Output: "journald"},
			Limits:        admin.Limits{Connections: 10000, Descriptors: 20000},
		},
		Process: &Process{
			PID: 42, UID: 997, GIDs: []int{997}, MaxFiles: 20000, Unit: "greetd.service",
			Environ: []string{"NOTIFY_SOCKET=/run/systemd/notify", "WATCHDOG_USEC=20000000"},
		},
		Unit: Unit{
			Name: "greetd.service", LoadState: "loaded", ActiveState: "active", SubState: "running", MainPID: 42,
			FragmentPath: "/lib/systemd/system/greetd.service", Requires: []string{"system.slice"},
			Type: "notify", NotifyAccess: "main", Restart: "on-failure", Result: "success",
			ExecStart: executes("/usr/sbin/greetd"), ExecReload: executes("/usr/sbin/greetd", "reload"),
			StandardOutput: "journal", StandardError: "journal", DynamicUser: true, User: "greetd-tcp",
			RuntimeDirectory: []string{"greetd"}, RestrictAddressFamilies: []any{true, []string{"AF_UNIX", "AF_INET", "AF_INET6"}},
			IPAddressAllow: allowed, IPAddressDeny: everywhere(), IPIngressBytes: 448,
			FileDescriptorStoreMax: 32, LimitNOFILE: 65536, WatchdogUSec: 20_000_000, StartLimitBurst: 5,
			LogRateLimitIntervalUSec: 30_000_000, LogRateLimitBurst: 22000,
			MemoryMax: 256 << 20, MemoryCurrent: 10 << 20, TasksMax: 256, TasksCurrent: 9,
		},
		Sockets: []Unit{{
			Name: "greetd.socket", LoadState: "loaded", ActiveState: state, UnitFileState: "disabled",
			Listen: [][]any{{"Stream", "[::]:10000"}}, Backlog: 4096, TriggerLimitBurst: 20, IPIngressBytes: 100,
		}},
		Config: Config{
			Loaded: config.Loaded{Path: "/etc/greetd/greetd.yaml", Config: config.Config{
				Listeners: []config.Listener{{Name: "greet", Address: ":10000"}},
				Limits:    config.Limits{Connections: 10000},
				Log:       config.Log{Output: "auto", Visits: "all", Rate: 300, Burst: 1000},
			}},
			File: &File{Mode: 0o644, Changed: loaded.Add(-time.Hour)},
		},
		Listening: []Socket{{Address: netip.MustParseAddrPort("[::]:10000"), Backlog: 4096}},
		Somaxconn: 4096,
		Journald:  RateLimit{Known: true, Interval: 30 * time.Second, Burst: 10000},
	}
	if mode == "socket" {
		f.Unit.Requires = append(f.Unit.Requires, "greetd.socket")
	} else {
		f.Unit.NFileDescriptorStore = 1
	}
	return f
}

func TestFindsNothingWrong(t *testing.T) {
	for _, place := range places {
		r := Examine(well(place))
		if !r.Healthy {
			t.Errorf("%s is not healthy", place)
		}
		for _, f := range r.Findings {
			if f.Severity != OK && f.Severity != NotApplicable || f.Remedy != "" {
				t.Errorf("%s: %+v", place, f)
			}
		}
	}
}

// a change makes one thing wrong.
type change struct {
	name  string
	place string // "" is 252-own
	do    func(f *Facts)

	check    string
	severity Severity
	found    string // a part of it
	remedy   string // a part of it
}

func unit(change func(u *Unit)) func(f *Facts)   { return func(f *Facts) { change(&f.Unit) } }
func socket(change func(s *Unit)) func(f *Facts) { return func(f *Facts) { change(&f.Sockets[0]) } }

func all(changes ...func(f *Facts)) func(f *Facts) {
	return func(f *Facts) {
		for _, do := range changes {
			do(f)
		}
	}
}

func silent(f *Facts) {
	f.Daemon, f.Silence = nil, admin.ErrNoDaemon
}

func stopped(f *Facts) {
	silent(f)
	f.Process = nil
	u := &f.Unit
	u.ActiveState, u.SubState, u.MainPID, u.NFileDescriptorStore = "inactive", "dead", 0, 0
	u.WatchdogUSec, u.IPIngressBytes, u.MemoryCurrent, u.TasksCurrent = unset, unset, unset, unset
	if f.Sockets[0].ActiveState != "active" {
		f.Listening = []Socket{}
	}
}

// failing is stopped, after a start that ended so, and another to come.
func failing(result string, status int, text string) func(f *Facts) {
	return all(stopped, func(f *Facts) {
		u := &f.Unit
		u.ActiveState, u.SubState, u.NRestarts = "activating", "auto-restart", 3
		u.Result, u.ExecMainStatus, u.StatusText = result, status, text
	})
}

// held is stopped, and something else has its port.
func held(pid int, program, unit string) func(f *Facts) {
	return all(stopped, func(f *Facts) {
		f.Listening = []Socket{{Address: netip.MustParseAddrPort("0.0.0.0:10000"), Backlog: 4096, PID: pid, Program: program, Unit: unit}}
	})
}

// tried is a listener reached from some addresses and not from others.
func tried(earlier bool, reached, unanswered []string) func(f *Facts) {
	return func(f *Facts) {
		d := Trial{Listener: "greet", Unit: f.Unit, Earlier: earlier}
		for _, ip := range reached {
			d.Reached = append(d.Reached, netip.MustParseAddr(ip))
		}
		for _, ip := range unanswered {
			d.Unanswered = append(d.Unanswered, netip.MustParseAddr(ip))
		}
		f.Trials = []Trial{d}
	}
}

func listensAt(address string) func(f *Facts) {
	return func(f *Facts) {
		f.Daemon.Listeners[0].Address = address
		f.Listening[0].Address = netip.MustParseAddrPort(address)
	}
}

// unreached is an attempt to reach a unix socket that failed so.
func unreached(r Reach) func(f *Facts) {
	r.Listener, r.Path, r.As = "u", "/run/greetd/u", "user nobody"
	return func(f *Facts) { f.Reached = []Reach{r} }
}

// staleCredential is one whose file has changed.
func staleCredential(version int, refresh any) func(f *Facts) {
	return func(f *Facts) {
		f.Systemd.Version, f.Unit.RefreshOnReload = version, refresh
		f.Stale = []Credential{{"tls.pem", "/etc/ssl/x.pem"}}
	}
}

// certificate is one of a listener, until then.
func certificate(left time.Duration) func(f *Facts) {
	return func(f *Facts) {
		f.Config.Certificates = []Certificate{{Listener: "tls", Path: "/etc/x.pem", NotAfter: f.Now.Add(left)}}
	}
}

func fromShell(f *Facts) {
	f.Process.Unit, f.Process.UID = "session-1.scope", 0
	f.Process.Environ = []string{"HOME=/root"}
	f.Unit.ActiveState, f.Unit.MainPID = "inactive", 0
}

func forbidden(f *Facts) {
	f.Root = false
	f.Daemon, f.Silence = nil, fmt.Errorf("%w at unix:/run/greetd/admin.sock", fs.ErrPermission)
	f.Process.Environ = nil
}

func beforeStart(f *Facts) {
	silent(f)
	f.Process.Self = true
	f.Process.Environ = []string{}
	f.Unit.ActiveState, f.Unit.SubState, f.Unit.MainPID = "activating", "start-pre", 0
}

func withoutSystemd(f *Facts) {
	f.Systemd, f.Unit, f.Sockets, f.Process.Unit = Systemd{}, Unit{Name: "greetd.service"}, nil, ""
}

const (
	edit  = "systemctl edit greetd.service: [Service] "
	again = "; then systemctl restart greetd.service"

	stopStart = "systemctl stop greetd.service; systemctl start greetd.service"
)

var changes = []change{
	{"daemon: starting", "", func(f *Facts) { f.Daemon.Ready, f.Daemon.State = false, "starting" }, "daemon", Warning, "is starting", "run doctor again"},
	{"daemon: trouble", "", func(f *Facts) { f.Daemon.Listeners[0].Trouble = "too many open files" }, "daemon", Problem, "greet can't accept clients: too many", "journalctl -e -u greetd.service"},
	{"daemon: elsewhere", "", func(f *Facts) { f.Process = nil }, "daemon", Unknown, "another container", "where greetd runs"},
	{"daemon: stuck", "", func(f *Facts) { f.Daemon, f.Silence = nil, errors.New("it does not answer") }, "daemon", Problem, "it does not answer", "journalctl"},
	{"daemon: not for us", "", forbidden, "daemon", Unknown, "permission denied", "sudo greetd doctor"},
	{"daemon: no runtime directory", "", all(silent, unit(func(u *Unit) { u.RuntimeDirectory = nil })), "daemon", Problem, "no admin socket", edit + "RuntimeDirectory=greetd" + again},
	{"daemon: its socket is gone", "", silent, "daemon", Problem, "no daemon answers at unix:/run/greetd/admin.sock", "journalctl"},
	{"daemon: stopped", "", stopped, "daemon", Warning, "greetd.service is inactive", "systemctl enable --now greetd.service"},
	{"daemon: nothing at all", "", all(stopped, unit(func(u *Unit) { u.LoadState = "not-found" })), "daemon", Problem, "nothing to examine", "GREETD_ADMIN_ADDRESS=unix:"},
	{"daemon: nothing, and no answer of systemd", "", all(stopped, unit(func(u *Unit) { *u = Unit{Name: u.Name} })), "daemon", Unknown, "could not be queried", ""},
	{"daemon: bad configuration", "", all(failing("exit-code", 78, "x.yaml:1: greting: no"), func(f *Facts) { f.Systemd.ExitStatus = "CONFIG" }), "daemon", Problem, "x.yaml:1: greting: no; greetd.service does not start, after 3 restarts: its configuration is invalid (exit code 78/CONFIG)", "greetd check"},
	{"daemon: address taken", "", failing("exit-code", 71, "listen on :80: taken"), "daemon", Problem, "listen on :80: taken; greetd.service does not start, after 3 restarts: the system refused", "journalctl"},
	{"daemon: no program", "", all(failing("exit-code", 203, ""), func(f *Facts) { f.Systemd.ExitStatus = "EXEC" }), "daemon", Problem, "restarts: exit code 203/EXEC", "journalctl"},
	{"daemon: killed", "", failing("signal", 9, "listening"), "daemon", Problem, "3 restarts: it was killed by SIGKILL; its last status: listening", "journalctl"},
	{"daemon: named", "", func(*Facts) {}, "daemon", OK, "greetd 1.0 answers, process 42, running: greetd.service, asked at unix:/run/greetd/admin.sock, with /etc/greetd/greetd.yaml", ""},
	{"daemon: named, though something is wrong", "", func(f *Facts) { f.Daemon.Listeners[0].Trouble = "x" }, "daemon", OK, "greetd 1.0 answers", ""},
	{"daemon: no memory", "", failing("oom-kill", 9, ""), "daemon", Problem, "memory ran out", edit + "MemoryMax=512M"},
	{"daemon: stuck at the start", "", all(failing("timeout", 0, ""), unit(func(u *Unit) { u.TimeoutStartUSec = 15_000_000 })), "daemon", Problem, "TimeoutStartSec=15s", "journalctl"},
	{"daemon: watchdog", "", all(failing("watchdog", 0, ""), unit(func(u *Unit) { u.WatchdogUSec = 20_000_000 })), "daemon", Problem, "WatchdogSec=20s", "journalctl"},
	{"daemon: given up", "", all(failing("start-limit-hit", 0, ""), unit(func(u *Unit) { u.ActiveState = "failed" })), "daemon", Problem, "does not start: systemd gave up", "systemctl reset-failed greetd.service"},
	{"daemon: between two starts", "", all(failing("success", 0, ""), unit(func(u *Unit) { u.SubState = "start" })), "daemon", Problem, "after 3 restarts: it is being started again", "journalctl"},
	{"daemon: idle behind its socket", "252-socket", stopped, "daemon", OK, "starts with its first client", ""},
	{"daemon: before the start", "", beforeStart, "daemon", NotApplicable, "before its start", ""},

	{"configuration: bad", "", func(f *Facts) {
		f.Config.Problems = []string{"x.yaml:1: greeting: bad", "x.yaml:2: log: bad"}
	}, "configuration", Problem, "x.yaml:1: greeting: bad (and 1 more)", "greetd check --config /etc/greetd/greetd.yaml lists every problem; then systemctl reload greetd.service"},
	{"configuration: refused", "", func(f *Facts) { f.Daemon.Configuration.LastReload = &admin.Reload{Error: "one\ntwo"} }, "configuration", Problem, "last reload was refused: one …", "systemctl reload"},
	{"configuration: newer than the daemon's", "", func(f *Facts) { f.Config.File.Changed = f.Daemon.Configuration.Loaded.Add(time.Second) }, "configuration", Warning, "has changed since greetd loaded it", "systemctl reload greetd.service"},
	{"configuration: only for root", "", func(f *Facts) { f.Config.File.Mode = 0o600 }, "configuration", Problem, "may not read", "chmod a+r /etc/greetd/greetd.yaml"},
	{"configuration: only for root, stopped", "", all(stopped, func(f *Facts) { f.Config.File.Mode = 0o600 }), "configuration", Problem, "may not read", "chmod a+r"},
	{"configuration: for its group", "", func(f *Facts) { f.Config.File.Mode, f.Config.File.GID = 0o640, f.Process.GIDs[0] }, "configuration", OK, "generation 1", ""},
	{"configuration: not for us", "", all(forbidden, func(f *Facts) { f.Config = Config{Forbidden: true} }), "configuration", Unknown, "may not read", "sudo"},

	{"systemd: a shell", "", fromShell, "systemd", Problem, "systemd did not start process", "systemctl enable --now greetd.service"},
	{"systemd: elsewhere", "", func(f *Facts) { f.Process = nil }, "systemd", Unknown, "could not find out who started", "where greetd runs"},
	{"systemd: a script", "", unit(func(u *Unit) { u.MainPID = 1 }), "systemd", Problem, "is not its main process", "exec greetd"},
	{"systemd: a shell of sshd's", "", func(f *Facts) { f.Process.Unit = "ssh.service" }, "systemd", Problem, "is in ssh.service, but is not its main", "systemctl enable --now greetd.service"},
	{"systemd: none", "", withoutSystemd, "systemd", Warning, "does not run this machine", "--restart=on-failure"},
	{"systemd: old", "", func(f *Facts) { f.Systemd.Version = 247 }, "systemd", Warning, "247 is older than 252", "update"},
	{"systemd: dumb", "", func(f *Facts) { f.Root, f.Systemd.Version, f.Systemd.Trouble = false, 0, "no bus" }, "systemd", Unknown, "no bus", "sudo"},
	{"systemd: another user's", "", func(f *Facts) { f.Process.Unit = "user@1000.service" }, "systemd", Unknown, "user@1000.service, and this user cannot query its systemd", "as the user"},

	{"unit: bad", "", all(stopped, unit(func(u *Unit) { u.LoadState = "bad-setting" })), "unit", Problem, "bad-setting", "systemd-analyze verify greetd.service"},
	{"unit: changed", "", unit(func(u *Unit) { u.NeedDaemonReload = true }), "unit", Warning, "changed since", "systemctl daemon-reload; systemctl restart greetd.service"},
	{"unit: drop-ins", "", unit(func(u *Unit) { u.DropInPaths = []string{"/a.conf", "/b.conf"} }), "unit", OK, "and 2 drop-ins", ""},
	{"unit: a setting that systemd ignores", "", func(f *Facts) { f.Systemd.Verify = []string{"x.conf:2: Unknown key 'ProtectHum'"} }, "unit", Warning, "ProtectHum", "systemctl edit --full greetd.service"},

	{"notify: simple", "257-own", unit(func(u *Unit) { u.Type = "simple" }), "notify", Problem, "Type=simple", edit + "Type=notify and NotifyAccess=main" + again},
	{"notify: simple for notify-reload", "252-own", unit(func(u *Unit) { u.Type = "simple" }), "notify", Problem, "systemd 252 treats an unknown type", "Type=notify"},
	{"notify: notify-reload", "257-own", unit(func(u *Unit) { u.Type = "notify-reload" }), "notify", OK, "notify-reload", ""},
	{"notify: no unix sockets", "", unit(func(u *Unit) { u.RestrictAddressFamilies = []any{true, []string{"AF_INET", "AF_INET6"}} }), "notify", Problem, "leaves out AF_UNIX", edit + "RestrictAddressFamilies=AF_UNIX"},
	{"notify: unix sockets denied", "", unit(func(u *Unit) { u.RestrictAddressFamilies = []any{false, []string{"AF_UNIX"}} }), "notify", Problem, "leaves out AF_UNIX", "AF_UNIX"},
	{"notify: others denied", "", unit(func(u *Unit) { u.RestrictAddressFamilies = []any{false, []string{"AF_PACKET", "AF_NETLINK"}} }), "notify", OK, "Type=notify", ""},

	{"reload: none", "", unit(func(u *Unit) { u.ExecReload = executes() }), "reload", Problem, "can't work", "ExecReload=/usr/sbin/greetd reload"},
	{"reload: kill", "", unit(func(u *Unit) { u.ExecReload = executes("/bin/kill", "-HUP", "$MAINPID") }), "reload", Warning, "/bin/kill -HUP $MAINPID", "ExecReload= and ExecReload=/usr/sbin/greetd reload"},

	{"watchdog: none", "", unit(func(u *Unit) { u.WatchdogUSec = 0 }), "watchdog", Problem, "no WatchdogSec=", edit + "WatchdogSec=20s"},
	{"watchdog: infinite", "", unit(func(u *Unit) { u.WatchdogUSec = unset }), "watchdog", Problem, "no WatchdogSec=", "WatchdogSec=20s"},
	{"watchdog: short", "", unit(func(u *Unit) { u.WatchdogUSec = 500_000 }), "watchdog", Warning, "500ms", "WatchdogSec=20s"},
	{"watchdog: stopped", "", stopped, "watchdog", Unknown, "only when", "when it is running"},
	{"watchdog: before the start", "", beforeStart, "watchdog", OK, "20s", ""},

	{"restart: no", "", unit(func(u *Unit) { u.Restart = "no" }), "restart", Problem, "greetd is not restarted", edit + "Restart=on-failure and RestartSec=250ms"},
	{"restart: on-abort", "", unit(func(u *Unit) { u.Restart = "on-abort" }), "restart", Problem, "after some or all failures", "Restart=on-failure"},
	{"restart: limited", "", unit(func(u *Unit) { u.StartLimitIntervalUSec = 10_000_000 }), "restart", Warning, "after 5 starts in 10s", "systemctl edit greetd.service: [Unit] StartLimitIntervalSec=0"},

	{"journal: stderr, as configured", "", func(f *Facts) { f.Daemon.Log.Output, f.Config.Log.Output = "stderr", "stderr" }, "journal", Warning, "without fields", "log: {output: auto} in greetd.yaml; then systemctl reload greetd.service"},
	{"journal: stdout, as configured", "", func(f *Facts) { f.Daemon.Log.Output, f.Config.Log.Output = "stdout", "stdout" }, "journal", Warning, "to stdout, as text without fields", "log: {output: auto} in greetd.yaml; then systemctl reload greetd.service"},
	{"journal: stderr to a file", "", all(unit(func(u *Unit) { u.StandardError = "file:/x" }), func(f *Facts) { f.Daemon.Log.Output = "stderr" }), "journal", Warning, "StandardError=file:/x", edit + "StandardError=journal"},
	{"journal: nowhere", "", all(unit(func(u *Unit) { u.StandardOutput = "null"; u.StandardError = "inherit" }), func(f *Facts) { f.Daemon.Log.Output = "stderr" }), "journal", Problem, "the reason is lost", "StandardError=journal"},
	{"journal: stopped", "", all(stopped, unit(func(u *Unit) { u.StandardError = "journal+console" })), "journal", OK, "to the journal", ""},
	{"journal: syslog", "", func(f *Facts) { f.Daemon.Log.Output, f.Config.Log.Output = "syslog", "syslog" }, "journal", OK, "to syslog", ""},
	{"journal: no journald", "", func(f *Facts) { f.Journal = "dial unixgram: connection refused" }, "journal", Problem, "journald does not receive the log: dial unixgram", "systemctl start systemd-journald.socket"},
	{"reload: its admin socket is another's", "", func(f *Facts) { f.AdminSocket = &File{Mode: 0o600} }, "reload", Problem, "user 997, may not use its own admin socket, which has mode 0600 and belongs to user 0", "systemctl restart greetd.service"},
	{"reload: its admin socket", "", func(f *Facts) { f.AdminSocket = &File{Mode: 0o600, UID: f.Process.UID} }, "reload", OK, "waits for the result", ""},
	{"reload: its admin socket, by its group", "", func(f *Facts) { f.AdminSocket = &File{Mode: 0o660, GID: f.Process.GIDs[0]} }, "reload", OK, "waits for the result", ""},
	{"daemon: masked", "", all(stopped, unit(func(u *Unit) { u.LoadState = "masked" })), "daemon", Problem, "greetd.service is masked", "systemctl unmask greetd.service; systemctl enable --now greetd.service"},
	{"unit: masked while it runs", "", unit(func(u *Unit) { u.LoadState = "masked" }), "unit", Problem, "is masked: once stopped, it can't be started", "systemctl unmask greetd.service; systemctl restart greetd.service"},
	{"unit: its file is gone", "", unit(func(u *Unit) { u.LoadState = "not-found" }), "unit", Problem, "greetd.service is running, but systemd does not find its file", "systemctl daemon-reload"},
	{"journal: no syslog", "", func(f *Facts) { f.Daemon.Log.Output, f.Syslog = "syslog", "dial /dev/log: no such file" }, "journal", Problem, "no syslog daemon receives it: dial /dev/log", "rsyslog"},
	{"journal: dropped", "", func(f *Facts) { f.Daemon.Log.Dropped = 7 }, "journal", Warning, "7 log entries were dropped", "log.rate"},

	{"journal-rate: no limit of ours", "", func(f *Facts) { f.Config.Log.Rate = 0 }, "journal-rate", Warning, "log.rate is 0", "rate: 300"},
	{"journal-rate: above journald's", "", func(f *Facts) { f.Config.Log.Rate = 1000 }, "journal-rate", Warning, "62000 visits in 30s", "LogRateLimitIntervalSec=30 and LogRateLimitBurst=68200"},
	{"journal-rate: above the unit's", "", unit(func(u *Unit) { u.LogRateLimitIntervalUSec = 10_000_000; u.LogRateLimitBurst = 100 }), "journal-rate", Warning, "above 100", "LogRateLimitBurst=8800"},
	{"journal-rate: journald's off", "", func(f *Facts) {
		f.Config.Log.Rate, f.Journald.Interval, f.Unit.LogRateLimitIntervalUSec, f.Unit.LogRateLimitBurst = 0, 0, 0, 0
	}, "journal-rate", OK, "does not limit", ""},
	{"journal-rate: the unit's off", "", all(unit(func(u *Unit) { u.LogRateLimitIntervalUSec = 1; u.LogRateLimitBurst = 10000 }), func(f *Facts) { f.Config.Log.Rate = 0 }), "journal-rate", OK, "does not limit", ""},
	{"journal-rate: no visits", "", func(f *Facts) { f.Config.Log.Rate, f.Config.Log.Visits = 0, "none" }, "journal-rate", OK, "not logged", ""},
	{"journal-rate: not seen", "", func(f *Facts) {
		f.Journald, f.Unit.LogRateLimitIntervalUSec, f.Unit.LogRateLimitBurst = RateLimit{}, 0, 0
	}, "journal-rate", Unknown, "could not be read", "cat-config"},
	{"journal-rate: no configuration", "", func(f *Facts) { f.Config = Config{Problems: []string{"bad"}} }, "journal-rate", Unknown, "no log.rate", "greetd check"},
	{"journal-rate: syslog", "", func(f *Facts) { f.Daemon.Log.Output = "syslog" }, "journal-rate", NotApplicable, "does not go to journald", ""},

	{"ports: a service", "", held(7, "nginx", "nginx.service"), "ports", Problem, "listener greet needs :10000, and 0.0.0.0:10000 is held by nginx, process 7 of nginx.service", "systemctl disable --now nginx.service; or another port for greet"},
	{"ports: stored for a unit that failed", "", all(stopped, func(f *Facts) {
		f.Unit.ActiveState = "failed"
		f.Listening = []Socket{{Address: netip.MustParseAddrPort("[::]:10000"), Backlog: 4096, PID: 1, Program: "systemd", Unit: "greetd.service"}}
	}), "ports", Problem, "systemd listens on [::]:10000 for greetd.service, which is failed", "systemctl start greetd.service; or close the port: systemctl clean --what=fdstore greetd.service"},
	{"ports: a shell's", "", held(7, "nc", "session-1.scope"), "ports", Problem, "held by nc, process 7", "kill 7"},
	{"ports: another socket unit", "", held(1, "systemd", "ssh.socket"), "ports", Problem, "held by systemd, for ssh.socket", "systemctl disable --now ssh.socket"},
	{"ports: another descriptor store", "", held(1, "systemd", "greetd@lobby.service"), "ports", Problem, "systemd, for greetd@lobby.service", "systemctl disable --now greetd@lobby.service"},
	{"ports: systemd's, who knows why", "", held(1, "systemd", ""), "ports", Problem, "systemd, for another unit", "list-sockets"},
	{"ports: our own descriptor store, between two starts", "", all(held(1, "systemd", "greetd.service"), unit(func(u *Unit) { u.ActiveState = "activating" })), "ports", OK, "no other process", ""},
	{"ports: somebody", "", held(0, "", ""), "ports", Unknown, "can't see", "ss -ltnp"},
	{"ports: the failed socket unit's", "252-socket", all(socket(func(s *Unit) { s.ActiveState = "failed" }), held(7, "nginx", "nginx.service")), "ports", Problem, "listener greetd.socket needs :10000", "disable --now nginx.service"},
	{"ports: systemd listens", "252-socket", stopped, "ports", OK, "systemd listens for greetd", ""},
	{"ports: not told", "", silent, "ports", Unknown, "does not report", "ss -ltnp"},

	{"socket-units: not required", "252-socket", unit(func(u *Unit) { u.Requires = []string{"system.slice"} }), "socket-units", Warning, "does not require greetd.socket", "[Unit] Requires=greetd.socket and After=greetd.socket"},
	{"socket-units: kept out", "", socket(func(s *Unit) { s.UnitFileState = "enabled"; s.ActiveState = "failed" }), "socket-units", Problem, "enabled, but failed", "systemctl stop greetd.service; systemctl start greetd.socket"},
	{"socket-units: ignored", "252-socket", all(unit(func(u *Unit) { u.NFileDescriptorStore = 1 }), func(f *Facts) { f.Daemon.Listeners[0].Origin = systemd.OwnBind }), "socket-units", Problem, "without its sockets", "systemctl restart"},
	{"socket-units: Accept=yes", "252-socket", socket(func(s *Unit) { s.Accept = true }), "socket-units", Problem, "Accept=yes", "systemctl edit greetd.socket: [Socket] Accept=no; then systemctl stop greetd.service greetd.socket; systemctl start greetd.socket"},
	{"socket-units: DeferAccept", "252-socket", socket(func(s *Unit) { s.DeferAcceptUSec = 60_000_000 }), "socket-units", Problem, "are kept out", "DeferAcceptSec=0"},
	{"socket-units: trigger limit", "252-socket", socket(func(s *Unit) { s.TriggerLimitIntervalUSec = 2_000_000 }), "socket-units", Warning, "closes its socket too", "TriggerLimitIntervalSec=0"},
	{"socket-units: idle", "252-socket", stopped, "socket-units", OK, "greetd.socket", ""},

	{"fd-store: none", "", unit(func(u *Unit) { u.FileDescriptorStoreMax = 0; u.NFileDescriptorStore = 0 }), "fd-store", Problem, "FileDescriptorStoreMax=0", edit + "FileDescriptorStoreMax=512" + again},
	{"fd-store: small", "", func(f *Facts) {
		f.Daemon.Listeners = slices.Repeat(f.Daemon.Listeners, 40)
	}, "fd-store", Problem, "clients of 8 listeners", "FileDescriptorStoreMax=512"},
	{"fd-store: empty", "", unit(func(u *Unit) { u.NFileDescriptorStore = 0 }), "fd-store", Problem, "keeps 0 of greetd's 1 listener", "systemctl restart"},
	{"fd-store: stopped", "", all(stopped, unit(func(u *Unit) { u.FileDescriptorStoreMax = 0 })), "fd-store", Problem, "clients of 1 listener", "FileDescriptorStoreMax=512"},
	{"fd-store: came back", "", func(f *Facts) { f.Daemon.Listeners[0].Origin = systemd.FDStore }, "fd-store", OK, "1 listener kept", ""},

	{"descriptors: few", "", func(f *Facts) { f.Daemon.Limits.Connections = 70000 }, "descriptors", Problem, "is 70000 and needs 70064", edit + "LimitNOFILE=70064" + again + "; or limits.connections: 19936"},
	{"descriptors: just enough", "", func(f *Facts) { f.Daemon.Limits.Connections = 20000 - 64 }, "descriptors", OK, "19936 connections", ""},
	{"descriptors: one missing", "", func(f *Facts) { f.Daemon.Limits.Connections = 20000 - 63 }, "descriptors", Problem, "needs 20001", "19936"},
	{"descriptors: the container's", "", func(f *Facts) { f.Daemon.Limits.Connections, f.Container = 30000, "systemd-nspawn" }, "descriptors", Problem, "may open only 20000", "more for the container, which limits LimitNOFILE= (systemd-nspawn --rlimit=NOFILE=30064, docker --ulimit nofile=30064), and " + edit + "LimitNOFILE=30064" + again + "; or limits.connections: 19936 in greetd.yaml"},
	{"descriptors: raised by now", "", func(f *Facts) { f.Daemon.Limits.Connections = 30000 }, "descriptors", Problem, "may open only 20000", "systemctl restart greetd.service, since"},
	{"descriptors: a shell's", "", all(fromShell, func(f *Facts) { f.Daemon.Limits.Connections = 70000 }), "descriptors", Problem, "needs 70064", "ulimit -n 70064"},
	{"descriptors: no limit", "", func(f *Facts) { f.Daemon.Limits.Connections = 0 }, "descriptors", OK, "no limit", ""},
	{"descriptors: stopped", "", all(stopped, unit(func(u *Unit) { u.LimitNOFILE = 1024 })), "descriptors", Problem, "may open only 1024", "LimitNOFILE=10064"},
	{"descriptors: nothing known", "", all(stopped, func(f *Facts) { f.Config = Config{Forbidden: true} }), "descriptors", Unknown, "neither", "greetd check"},

	{"backlog: somaxconn of old", "", func(f *Facts) { f.Listening[0].Backlog = 128 }, "backlog", Problem, "only 128", "systemctl stop greetd.service; systemctl start greetd.service"},
	{"backlog: somaxconn", "", func(f *Facts) { f.Listening[0].Backlog, f.Somaxconn = 128, 128 }, "backlog", Problem, "net.core.somaxconn is 128", "net.core.somaxconn=4096 >/etc/sysctl.d/60-greetd-tcp.conf; systemctl restart systemd-sysctl; systemctl stop greetd.service; systemctl start greetd.service"},
	{"backlog: the socket unit's", "252-socket", all(socket(func(s *Unit) { s.Backlog = 128 }), func(f *Facts) { f.Listening[0].Backlog = 128 }), "backlog", Problem, "only 128 clients may wait at [::]:10000", "systemctl edit greetd.socket: [Socket] Backlog=4096"},
	{"backlog: cut", "252-socket", func(f *Facts) { f.Listening[0].Backlog, f.Somaxconn = 128, 128 }, "backlog", Problem, "net.core.somaxconn is 128", "systemctl stop greetd.service greetd.socket; systemctl start greetd.socket"},
	{"backlog: a shell's", "", all(fromShell, func(f *Facts) { f.Listening[0].Backlog, f.Somaxconn = 128, 128 }), "backlog", Problem, "128", "start greetd again"},
	{"backlog: without systemd", "", all(withoutSystemd, func(f *Facts) { f.Listening[0].Backlog, f.Somaxconn = 128, 128 }), "backlog", Problem, "128", "echo 4096 >/proc/sys/net/core/somaxconn"},
	{"backlog: idle behind its socket", "252-socket", all(stopped, func(f *Facts) { f.Listening[0].Backlog, f.Somaxconn = 128, 128 }), "backlog", Problem, "128", "somaxconn"},
	{"backlog: to come", "", all(stopped, func(f *Facts) { f.Somaxconn = 128 }), "backlog", Problem, "somaxconn is 128", "somaxconn=4096"},
	{"backlog: elsewhere", "", func(f *Facts) { f.Listening = []Socket{} }, "backlog", Unknown, "network namespace", "ss -ltn"},
	{"backlog: not seen", "", func(f *Facts) { f.Listening = nil }, "backlog", Unknown, "could not read the sockets", "ss -ltn"},
	{"backlog: not told", "", silent, "backlog", Unknown, "no TCP socket", "ss -ltn"},
	{"backlog: nobody can be asked", "", all(forbidden, unit(func(u *Unit) { *u = Unit{Name: u.Name} })), "backlog", Unknown, "no TCP socket", "ss -ltn"},
	{"backlog: unix only", "", func(f *Facts) { f.Daemon.Listeners[0].Address = "unix:/run/x" }, "backlog", NotApplicable, "no TCP listener", ""},

	{"resources: no controllers", "", unit(func(u *Unit) { u.MemoryCurrent, u.TasksCurrent = unset, unset }), "resources", Warning, "TasksMax= is not enforced here: control group without pids", "cgroup_enable=memory; in a container: delegate the controller pids"},
	{"resources: stopped", "", stopped, "resources", Unknown, "only while", "when it is running"},
	{"resources: no limits", "", unit(func(u *Unit) { u.MemoryMax = unset }), "resources", Warning, "no MemoryMax=", edit + "MemoryMax=256M"},

	{"address-filters: none", "", unit(func(u *Unit) { u.IPAddressDeny = nil }), "address-filters", OK, "keep nobody out", ""},
	{"address-filters: narrow", "", unit(func(u *Unit) { u.IPAddressAllow = networks("10.0.0.0/8", "192.0.2.0/24") }), "address-filters", OK, "greetd.service lets in 10.0.0.0/8 192.0.2.0/24", ""},
	{"address-filters: nobody", "", unit(func(u *Unit) { u.IPAddressAllow = nil }), "address-filters", Problem, "let in nobody", edit + "IPAddressAllow=0.0.0.0/0 ::/0; then " + stopStart},
	{"address-filters: no counts", "", unit(func(u *Unit) { u.IPAddressAllow, u.IPIngressBytes = networks("10.0.0.0/8"), unset }), "address-filters", Warning, "counts nothing", "access.allow"},
	{"address-filters: no counts of the socket unit", "252-socket", socket(func(s *Unit) { s.IPAddressDeny, s.IPIngressBytes = networks("10.0.0.0/8"), unset }), "address-filters", Warning, "greetd.socket", "access.deny"},
	{"address-filters: socket", "252-socket", socket(func(s *Unit) { s.IPAddressDeny, s.IPAddressAllow = everywhere(), networks("10.0.0.0/8") }), "address-filters", OK, "greetd.service lets in nobody; greetd.socket lets in 10.0.0.0/8", ""},

	{"address-filters: nobody, by the socket unit", "252-socket", socket(func(s *Unit) { s.IPAddressDeny = everywhere() }), "address-filters", Problem, "of greetd.socket let in nobody", "systemctl edit greetd.socket: [Socket] IPAddressAllow=0.0.0.0/0 ::/0; then systemctl stop greetd.service greetd.socket; systemctl start greetd.socket"},
	{
		"address-filters: of another start, one who should not is let in", "", all(unit(func(u *Unit) { u.IPAddressAllow = networks("10.0.0.0/8") }), tried(true, []string{"192.0.2.1", "10.1.1.1"}, nil)),
		"address-filters", Problem, "192.0.2.1 reaches listener greet, which the filters of greetd.service forbid", stopStart,
	},
	{
		"address-filters: of another start, one who should is kept out", "", all(unit(func(u *Unit) { u.FileDescriptorStorePreserve = "yes" }), tried(true, []string{"127.0.0.1"}, []string{"192.0.2.1"})),
		"address-filters", Problem, "192.0.2.1 does not reach listener greet, which the filters of greetd.service allow", "systemctl stop greetd.service; systemctl clean --what=fdstore greetd.service; systemctl start greetd.service",
	},
	{
		"address-filters: not applied yet", "", all(unit(func(u *Unit) { u.IPAddressAllow = networks("10.0.0.0/8") }), tried(false, []string{"127.0.0.1"}, nil)),
		"address-filters", Problem, "127.0.0.1 reaches listener greet, which the filters of greetd.service forbid: systemd has not applied them, or BPF is not available", stopStart + "; or access.allow",
	},
	{"address-filters: still applied", "", tried(false, nil, []string{"127.0.0.1"}), "address-filters", Problem, "allow: systemd has not applied them, a firewall is in the way, or too many clients wait there", stopStart},
	{
		"address-filters: no counts, and seen to be active", "", all(unit(func(u *Unit) { u.IPAddressAllow, u.IPIngressBytes = networks("10.0.0.0/8"), unset }), tried(false, nil, []string{"127.0.0.1"})),
		"address-filters", OK, "greetd.service lets in 10.0.0.0/8", "",
	},
	{"address-filters: still applied, of a socket unit", "252-socket", func(f *Facts) {
		f.Trials = []Trial{{Listener: "greet", Unit: f.Sockets[0], Unanswered: []netip.Addr{netip.MustParseAddr("::1")}}}
	}, "address-filters", Problem, "::1 does not reach listener greet, which the filters of greetd.socket allow", "systemctl stop greetd.service greetd.socket; systemctl start greetd.socket"},
	{"address-filters: somebody, by IPv4", "", all(listensAt("192.0.2.1:10000"), unit(func(u *Unit) { u.IPAddressAllow = networks("10.0.0.0/8") })), "address-filters", OK, "lets in 10.0.0.0/8", ""},
	{"unix-sockets: reached", "", func(f *Facts) { f.Reached = []Reach{{Listener: "u", Path: "/run/greetd/u", As: "user nobody"}} }, "unix-sockets", OK, "other users reach 1 unix socket", ""},
	{"unix-sockets: behind /run/private", "", unreached(Reach{Refused: "/run/private"}), "unix-sockets", Problem, "user nobody can't connect to /run/greetd/u of listener u: permission denied at /run/private", edit + "RuntimeDirectoryPreserve=no" + again},
	{"unix-sockets: in a closed runtime directory", "", unreached(Reach{Refused: "/run/greetd"}), "unix-sockets", Problem, "permission denied at /run/greetd", edit + "RuntimeDirectoryMode=0755" + again},
	{"unix-sockets: in a closed directory", "", unreached(Reach{Refused: "/srv"}), "unix-sockets", Problem, "permission denied at /srv", "chmod a+x /srv"},
	{"unix-sockets: another mode", "", unreached(Reach{Refused: "/run/greetd/u"}), "unix-sockets", Problem, "the mode of the file", "systemctl reload greetd.service"},
	{"unix-sockets: deleted", "", unreached(Reach{Missing: true}), "unix-sockets", Problem, "there is no such file", "systemctl reload greetd.service"},
	{"unix-sockets: hidden", "", unreached(Reach{Missing: true, Hidden: true}), "unix-sockets", Problem, "as PrivateTmp= does", "address: unix:/run/greetd/u in greetd.yaml"},

	{"certificates: good", "", certificate(90 * 24 * time.Hour), "certificates", OK, "1 certificate", ""},
	{"certificates: soon", "", certificate(5 * 24 * time.Hour), "certificates", Warning, "listener tls expires in 5 days", "renew /etc/x.pem, which greetd serves by itself"},
	{"certificates: expired", "", certificate(-time.Hour), "certificates", Problem, "listener tls expired at 2026-11-23T03:00:00Z", "renew /etc/x.pem"},
	{"certificates: to come", "", all(certificate(90*24*time.Hour), func(f *Facts) { f.Config.Certificates[0].NotBefore = f.Now.Add(time.Hour) }), "certificates", Problem, "not valid before 2026-11-23T05:00:00Z", "clock"},
	{"certificates: soon, a credential", "", all(certificate(5*24*time.Hour), func(f *Facts) { f.Config.Certificates[0].Credential = true }), "certificates", Warning, "expires in 5 days", "then systemctl restart greetd.service"},
	{"certificates: stale credential", "", staleCredential(252, nil), "certificates", Problem, "credential tls.pem is not what /etc/ssl/x.pem is now", "systemctl restart greetd.service"},
	{"certificates: stale credential, systemd 260", "", staleCredential(260, []string{}), "certificates", Problem, "credential tls.pem", "[Service] RefreshOnReload=credentials; then systemctl restart greetd.service"},
	{"certificates: stale credential, refreshed on reload", "", staleCredential(260, []string{"credentials"}), "certificates", Problem, "credential tls.pem", "systemctl reload greetd.service"},
	{"certificates: another is served", "", all(certificate(90*24*time.Hour), func(f *Facts) {
		f.Config.Certificates[0].SHA256 = "aa"
		f.Daemon.Listeners[0].Name, f.Daemon.Listeners[0].Certificate = "tls", &admin.Certificate{SHA256: "bb"}
	}), "certificates", Problem, "listener tls serves another certificate than /etc/x.pem has", "systemctl reload greetd.service"},
	{"certificates: that one is served", "", all(certificate(90*24*time.Hour), func(f *Facts) {
		f.Config.Certificates[0].SHA256 = "aa"
		f.Daemon.Listeners[0].Name, f.Daemon.Listeners[0].Certificate = "tls", &admin.Certificate{SHA256: "aa"}
	}), "certificates", OK, "1 certificate", ""},
	{"certificates: hidden", "", func(f *Facts) { f.Config.Hidden = true }, "certificates", Unknown, "only the unit's own", "openssl"},
	{"certificates: no configuration", "", func(f *Facts) { f.Config = Config{Problems: []string{"bad"}} }, "certificates", Unknown, "no certificates", "greetd check"},

	{"sandbox: root", "", unit(func(u *Unit) { u.DynamicUser, u.User = false, "root" }), "sandbox", Problem, "runs as root", edit + "DynamicUser=yes and User=greetd-tcp and Group=greetd-tcp" + again},
	{"sandbox: open", "", func(f *Facts) { f.Systemd.Open = []string{"NoNewPrivileges=", "ProtectSystem="} }, "sandbox", Warning, "this unit lacks: NoNewPrivileges= ProtectSystem=", "systemd-analyze security greetd.service"},
	{"sandbox: not asked", "", func(f *Facts) { f.Systemd.Open = nil }, "sandbox", Unknown, "did not answer", ""},
	{"sandbox: a shell", "", fromShell, "sandbox", Problem, "greetd runs as root", "run greetd by its unit"},
	{"sandbox: without systemd", "", all(fromShell, withoutSystemd, func(f *Facts) { f.Process.UID = 1 }), "sandbox", Warning, "as user 1", "docker run --user"},

	{"address-filters: a few kept out", "", unit(func(u *Unit) { u.IPAddressDeny = networks("192.0.2.0/24"); u.IPAddressAllow = networks() }), "address-filters", OK, "greetd.service keeps out 192.0.2.0/24", ""},
	{"address-filters: a few kept out, of nobody", "252-socket", unit(func(u *Unit) { u.IPAddressDeny = networks("192.0.2.0/24"); u.IPAddressAllow = networks() }), "address-filters", Problem, "do not apply to clients", "into greetd.socket"},
	{"address-filters: in the wrong unit", "252-socket", unit(func(u *Unit) { u.IPAddressAllow = networks("10.0.0.0/8") }), "address-filters", Problem, "do not apply to clients that come through greetd.socket", "into greetd.socket"},

	{"name-collision: package", "", func(f *Facts) { f.Namesake.Package = "installed" }, "name-collision", Problem, "its package greetd is installed", "apt-get purge greetd"},
	{"name-collision: program", "", func(f *Facts) { f.Namesake.Programs = []string{"/usr/sbin/greetd"} }, "name-collision", Problem, "/usr/sbin/greetd is another program", "make uninstall"},
	{"name-collision: alias", "", func(f *Facts) { f.Namesake.Display = true }, "name-collision", Problem, "greetd.service is also display-manager.service", "rm -f /etc/systemd/system/display-manager.service"},
	{"name-collision: leftovers", "", func(f *Facts) { f.Namesake = Namesake{Package: "config-files", PAM: true} }, "name-collision", Warning, "has left /etc/pam.d/greetd", "purge"},
	{"name-collision: never there", "", func(f *Facts) { f.Namesake.Package = "not-installed" }, "name-collision", OK, "no login manager", ""},

	{"permission: an ordinary user", "", forbidden, "permission", Unknown, "could not look at the environment of process 42", "sudo greetd doctor"},
	{"permission: no tools", "", func(f *Facts) { f.Unseen = []string{"this", "that"} }, "permission", Unknown, "could not look at this; that", "systemd"},

	{"permission: in the sandbox", "", all(beforeStart, func(f *Facts) { f.Root = false }), "permission", Unknown, "in its sandbox", "ExecStartPre=+/usr/sbin/greetd doctor"},
	{"user's own manager", "", all(unit(func(u *Unit) { u.Restart = "no" }), func(f *Facts) { f.Systemd.User = true }), "restart", Problem, "greetd is not restarted", "systemctl --user edit greetd.service"},
}

func TestFindsWhatIsWrong(t *testing.T) {
	for _, c := range changes {
		t.Run(c.name, func(t *testing.T) {
			f := well(cmp.Or(c.place, "252-own"))
			c.do(&f)
			r := Examine(f)
			i := slices.IndexFunc(r.Findings, func(f Finding) bool {
				return f.Check == c.check && f.Severity == c.severity && strings.Contains(f.Found, c.found) && strings.Contains(f.Remedy, c.remedy)
			})
			if i < 0 {
				var all strings.Builder
				_ = r.WriteText(&all)
				t.Errorf("no %s from %s about %q with the remedy %q in:\n%s", c.severity, c.check, c.found, c.remedy, all.String())
			}
		})
	}
}

// What one change does not touch stays as it was: the cause is found, and not a crowd
// of its consequences.
func TestBlamesNothingElse(t *testing.T) {
	for _, c := range changes {
		if c.severity != Problem || strings.Contains(c.name, "a shell") || c.check == "daemon" {
			continue // what stops the daemon, or takes it out of its unit, touches all
		}
		f := well(cmp.Or(c.place, "252-own"))
		c.do(&f)
		for _, finding := range Examine(f).Findings {
			if finding.Severity == Problem && finding.Check != c.check && f.Daemon != nil {
				t.Errorf("%s: blames also %+v", c.name, finding)
			}
		}
	}
}

func TestEveryReportIsComplete(t *testing.T) {
	reports := map[string]Report{"of nothing": Examine(Facts{})}
	for _, c := range changes {
		f := well(cmp.Or(c.place, "252-own"))
		c.do(&f)
		reports[c.name] = Examine(f)
	}
	for name, r := range reports {
		counts := map[Severity]int{Problem: 0, Warning: 0, Unknown: 0, OK: 0, NotApplicable: 0}
		seen := make(map[string]bool)
		worst := 0
		for _, f := range r.Findings {
			counts[f.Severity]++
			seen[f.Check] = true
			rank := slices.Index(worstFirst, f.Severity)
			if rank < worst {
				t.Errorf("%s: %s comes after better ones", name, f.Check)
			}
			worst = rank
			if (f.Severity == Problem || f.Severity == Warning) != (f.Remedy != "") && f.Severity != Unknown {
				t.Errorf("%s: %+v", name, f)
			}
			if f.Found == "" || strings.HasSuffix(f.Found, ".") || strings.Contains(f.Found+f.Remedy, "%!") {
				t.Errorf("%s: %+v", name, f)
			}
		}
		if len(seen) != len(checks) {
			t.Errorf("%s: %d checks, want %d", name, len(seen), len(checks))
		}
		if !maps.Equal(counts, r.Counts) || r.Healthy != (counts[Problem] == 0) {
			t.Errorf("%s: healthy %v, counts %v, want %v", name, r.Healthy, r.Counts, counts)
		}
	}
}

func TestTextFitsATerminal(t *testing.T) {
	for _, c := range changes {
		f := well(cmp.Or(c.place, "252-own"))
		c.do(&f)
		var text strings.Builder
		if err := Examine(f).WriteText(&text); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(text.String()) {
			line = strings.TrimRight(line, "\n")
			if utf8.RuneCountInString(line) > columns && strings.Contains(strings.TrimLeft(line, " ->"), " ") {
				t.Errorf("%s: %d columns: %s", c.name, utf8.RuneCountInString(line), line)
			}
		}
	}
}

func TestText(t *testing.T) {
	want, err := os.ReadFile("testdata/report.txt")
	if err != nil {
		t.Fatal(err)
	}
	f := well("252-own")
	f.Daemon.Limits.Connections = 70000
	f.Unit.MemoryCurrent, f.Unit.TasksCurrent = unset, unset
	f.Daemon.Listeners[0].Trouble = "\x1b[2Jtoo many\nopen files"
	var got strings.Builder
	if err := Examine(f).WriteText(&got); err != nil {
		t.Fatal(err)
	}
	if want := string(want); got.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", got.String(), want)
	}
}

func TestJSON(t *testing.T) {
	f := well("252-own")
	f.Unit.Type = "simple"
	text, err := json.Marshal(Examine(f))
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Healthy  *bool
		Counts   map[string]int
		Findings []map[string]string
	}
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if got.Healthy == nil || *got.Healthy || len(got.Counts) != 5 || got.Counts["problem"] != 1 {
		t.Errorf("%s", text)
	}
	first := got.Findings[0]
	if len(first) != 4 || first["check"] != "notify" || first["verdict"] != "problem" || first["found"] == "" || first["remedy"] == "" {
		t.Errorf("%s", text)
	}
}
