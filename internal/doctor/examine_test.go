package doctor

import (
	"encoding/json"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// places are machines with nothing to complain about, as systemd 252 and 257 show them.
var places = []string{"252-own", "252-socket", "257-own", "257-socket"}

func read(tb testing.TB, name ...string) string {
	tb.Helper()
	text, err := os.ReadFile(filepath.Join(append([]string{"testdata"}, name...)...))
	if err != nil {
		tb.Fatal(err)
	}
	return string(text)
}

// well returns the facts of one of places.
func well(tb testing.TB, place string) Facts {
	tb.Helper()
	version, mode, _ := strings.Cut(place, "-")
	service := parseShow(read(tb, place, "greetd.service"))
	p := parseStatus(read(tb, version+"-own", "status"))
	p.PID = (&Unit{Properties: service}).number("MainPID")
	p.Group, p.Manager = parseGroups(read(tb, version+"-own", "cgroup"))
	p.MaxFiles = parseMaxFiles(read(tb, version+"-own", "limits"))
	p.ReadOnlyRoot = parseReadOnlyRoot(read(tb, version+"-own", "mountinfo"))
	p.Environ = parseEnviron([]byte(read(tb, version+"-own", "environ")))
	p.OwnNetwork, p.OwnUsers = new(mode == "socket"), new(true)
	origin := OwnBind
	if mode == "socket" {
		origin = SocketUnit
	}
	loaded := time.Date(2026, 11, 23, 3, 0, 0, 0, time.UTC)
	return Facts{
		Root:    true,
		Systemd: Systemd{Booted: true, Version: leadingNumber(version)},
		Daemon: &Daemon{
			Version: "1.0", PID: p.PID, State: "running", Ready: true, Generation: 1, Loaded: loaded,
			Listeners: []Listener{{Name: "greet", Address: "[::]:10000", Origin: origin}},
			LogOutput: "journald", MaxConnections: 10000, Descriptors: p.MaxFiles,
		},
		Process: &p,
		Unit: Unit{
			Name: "greetd.service", Properties: service,
			Filtering: new(true), Controllers: []string{"cpu", "memory", "pids"},
		},
		Sockets: []Unit{{Name: "greetd.socket", Properties: parseShow(read(tb, place, "greetd.socket"))}},
		Config: Config{
			Valid: true, Path: "/etc/greetd/greetd.yaml", File: &File{Mode: 0o644, Changed: loaded.Add(-time.Hour)},
			Listeners: 1, MaxConns: 10000, LogOutput: "auto", LogVisits: "all", LogRate: 300, LogBurst: 1000,
		},
		Backlogs:          []Backlog{{Address: netip.MustParseAddrPort("[::]:10000"), Max: 4096}},
		Somaxconn:         4096,
		Journald:          RateLimit{Known: true, Interval: 30 * time.Second, Burst: 10000},
		DescriptorsBeside: 64,
	}
}

func TestNothingToComplainAbout(t *testing.T) {
	for _, place := range places {
		r := Examine(well(t, place))
		if !r.Healthy {
			t.Errorf("%s is not healthy", place)
		}
		for _, f := range r.Findings {
			if f.Verdict != OK && f.Verdict != NotApplicable || f.Remedy != "" {
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

	check   string
	verdict Verdict
	found   string // a part of it
	remedy  string // a part of it
}

func unit(settings ...string) func(f *Facts) {
	return func(f *Facts) { set(&f.Unit, settings) }
}

func socket(settings ...string) func(f *Facts) {
	return func(f *Facts) { set(&f.Sockets[0], settings) }
}

func set(u *Unit, settings []string) {
	for _, setting := range settings {
		key, value, _ := strings.Cut(setting, "=")
		u.Properties[key] = value
	}
}

func all(changes ...func(f *Facts)) func(f *Facts) {
	return func(f *Facts) {
		for _, do := range changes {
			do(f)
		}
	}
}

func silent(f *Facts) {
	f.Daemon, f.Silence = nil, Silence{Nobody: true, Address: "unix:/run/greetd/admin.sock"}
}

func stopped(f *Facts) {
	silent(f)
	f.Process, f.Unit.Filtering = nil, nil
	set(&f.Unit, []string{"ActiveState=inactive", "SubState=dead", "MainPID=0", "WatchdogUSec=infinity", "IPIngressBytes=[no data]"})
}

func fromShell(f *Facts) {
	f.Process.Group, f.Process.UID, f.Process.Capabilities = "session-1.scope", 0, 1<<41-1
	f.Process.NoNewPrivs, f.Process.Filtered, f.Process.ReadOnlyRoot = false, false, new(false)
	f.Process.Environ = map[string]string{"HOME": "/root"}
	set(&f.Unit, []string{"ActiveState=inactive", "MainPID=0"})
}

func forbidden(f *Facts) {
	f.Root = false
	f.Daemon, f.Silence = nil, Silence{Forbidden: true, Reason: "permission denied at unix:/run/greetd/admin.sock"}
	f.Process.Environ, f.Process.OwnNetwork, f.Process.OwnUsers = nil, nil, nil
	f.Unit.Filtering = nil
}

func beforeStart(f *Facts) {
	silent(f)
	f.Process.Self = true
	f.Process.Environ = map[string]string{}
	set(&f.Unit, []string{"ActiveState=activating", "SubState=start-pre", "MainPID=0"})
}

func withoutSystemd(f *Facts) {
	f.Systemd, f.Unit.Properties, f.Sockets, f.Process.Group = Systemd{}, nil, nil, ""
}

const (
	edit  = "systemctl edit greetd.service: [Service] "
	again = "; then systemctl restart greetd.service"
)

var changes = []change{
	{"daemon: starting", "", func(f *Facts) { f.Daemon.Ready, f.Daemon.State = false, "starting" }, "daemon", Warning, "is starting", "ask again"},
	{"daemon: trouble", "", func(f *Facts) { f.Daemon.Listeners[0].Trouble = "too many open files" }, "daemon", Problem, "greet can't accept clients: too many", "journalctl -e -u greetd.service"},
	{"daemon: elsewhere", "", func(f *Facts) { f.Process = nil }, "daemon", Unknown, "another container", "where greetd runs"},
	{"daemon: stuck", "", func(f *Facts) { f.Daemon, f.Silence = nil, Silence{Reason: "it does not answer"} }, "daemon", Problem, "it does not answer", "journalctl"},
	{"daemon: not for us", "", forbidden, "daemon", Unknown, "permission denied", "sudo greetd doctor"},
	{"daemon: nothing at all", "", all(stopped, func(f *Facts) { f.Unit.Properties = map[string]string{"LoadState": "not-found"} }), "daemon", Problem, "nothing to look at", "GREETD_ADMIN_ADDRESS=unix:"},
	{"daemon: nothing, and a dumb systemd", "", all(stopped, func(f *Facts) { f.Unit.Properties = nil }), "daemon", Unknown, "can't be asked", ""},
	{"daemon: no runtime directory", "", all(silent, unit("RuntimeDirectory=")), "daemon", Problem, "no admin socket", edit + "RuntimeDirectory=greetd" + again},
	{"daemon: its socket is gone", "", silent, "daemon", Problem, "nobody answers at unix:/run/greetd/admin.sock", "journalctl"},
	{"daemon: bad configuration", "", all(stopped, unit("ActiveState=activating", "SubState=auto-restart", "Result=exit-code", "ExecMainStatus=78")), "daemon", Problem, "configuration is bad", "journalctl"},
	{"daemon: failed", "", all(stopped, unit("ActiveState=failed", "Result=signal")), "daemon", Problem, "result signal", "journalctl"},
	{"daemon: stopped", "", stopped, "daemon", Warning, "greetd.service is inactive", "systemctl enable --now greetd.service"},
	{"daemon: idle behind its socket", "252-socket", stopped, "daemon", OK, "starts with its first client", ""},
	{"daemon: before the start", "", beforeStart, "daemon", NotApplicable, "before its start", ""},

	{"configuration: bad", "", func(f *Facts) {
		f.Config.Valid, f.Config.Problems = false, []string{"x.yaml:1: greeting: bad", "x.yaml:2: log: bad"}
	}, "configuration", Problem, "x.yaml:1: greeting: bad (and 1 more)", "greetd check --config /etc/greetd/greetd.yaml tells all; then systemctl reload greetd.service"},
	{"configuration: refused", "", func(f *Facts) { f.Daemon.Refused = "one\ntwo" }, "configuration", Problem, "last reload was refused: one …", "systemctl reload"},
	{"configuration: newer than the daemon's", "", func(f *Facts) { f.Config.File.Changed = f.Daemon.Loaded.Add(time.Second) }, "configuration", Warning, "has changed since", "systemctl reload greetd.service"},
	{"configuration: only for root", "", func(f *Facts) { f.Config.File.Mode = 0o600 }, "configuration", Problem, "may not read", "chmod a+r /etc/greetd/greetd.yaml"},
	{"configuration: only for root, stopped", "", all(stopped, func(f *Facts) { f.Config.File.Mode = 0o600 }), "configuration", Problem, "may not read", "chmod a+r"},
	{"configuration: for its group", "", func(f *Facts) { f.Config.File.Mode, f.Config.File.GID = 0o640, f.Process.GIDs[0] }, "configuration", OK, "generation 1", ""},
	{"configuration: not for us", "", all(forbidden, func(f *Facts) { f.Config = Config{Forbidden: true} }), "configuration", Unknown, "may not read", "sudo"},

	{"systemd: a shell", "", fromShell, "systemd", Problem, "systemd did not start process", "systemctl enable --now greetd.service"},
	{"systemd: elsewhere", "", func(f *Facts) { f.Process = nil }, "systemd", Unknown, "from here", "where greetd runs"},
	{"systemd: a script", "", unit("MainPID=1"), "systemd", Problem, "is not its main process", "exec greetd"},
	{"systemd: a shell of sshd's", "", func(f *Facts) { f.Process.Group = "ssh.service" }, "systemd", Problem, "is in ssh.service, but is not its main", "systemctl enable --now greetd.service"},
	{"systemd: none", "", withoutSystemd, "systemd", Warning, "does not run this machine", "--restart=on-failure"},
	{"systemd: old", "", func(f *Facts) { f.Systemd.Version = 247 }, "systemd", Warning, "247 is older than 252", "update"},
	{"systemd: dumb", "", func(f *Facts) { f.Root, f.Systemd.Version, f.Systemd.Trouble = false, 0, "no bus" }, "systemd", Unknown, "no bus", "sudo"},
	{"systemd: another user's", "", func(f *Facts) { f.Unit.Properties = nil }, "systemd", Unknown, "knows nothing", "as the user"},

	{"unit: bad", "", all(stopped, unit("LoadState=bad-setting")), "unit", Problem, "bad-setting", "systemd-analyze verify greetd.service"},
	{"unit: changed", "", unit("NeedDaemonReload=yes"), "unit", Warning, "changed since", "systemctl daemon-reload; systemctl restart greetd.service"},
	{"unit: drop-ins", "", unit("DropInPaths=/a.conf /b.conf"), "unit", OK, "and 2 drop-ins", ""},

	{"notify: simple", "257-own", unit("Type=simple"), "notify", Problem, "Type=simple", edit + "Type=notify and NotifyAccess=main" + again},
	{"notify: simple for notify-reload", "252-own", unit("Type=simple"), "notify", Problem, "systemd 252 takes an unknown type", "Type=notify"},
	{"notify: notify-reload", "257-own", unit("Type=notify-reload"), "notify", OK, "notify-reload", ""},
	{"notify: no access", "", unit("NotifyAccess=none"), "notify", Problem, "hears nothing", edit + "NotifyAccess=main"},
	{"notify: no unix sockets", "", unit("RestrictAddressFamilies=AF_INET AF_INET6"), "notify", Problem, "leaves out AF_UNIX", edit + "RestrictAddressFamilies=AF_UNIX"},
	{"notify: unix sockets denied", "", unit("RestrictAddressFamilies=~AF_UNIX"), "notify", Problem, "leaves out AF_UNIX", "AF_UNIX"},
	{"notify: others denied", "", unit("RestrictAddressFamilies=~AF_PACKET AF_NETLINK"), "notify", OK, "Type=notify", ""},
	{"notify: started without", "", func(f *Facts) { delete(f.Process.Environ, "NOTIFY_SOCKET") }, "notify", Problem, "changed since", "systemctl restart greetd.service"},

	{"reload: none", "", unit("ExecReload="), "reload", Problem, "can't work", "ExecReload=/usr/sbin/greetd reload"},
	{"reload: kill", "", unit("ExecReload={ path=/bin/kill ; argv[]=/bin/kill -HUP $MAINPID ; ignore_errors=no }"), "reload", Warning, "/bin/kill -HUP $MAINPID", "ExecReload= and ExecReload=/usr/sbin/greetd reload"},

	{"watchdog: none", "", unit("WatchdogUSec=0"), "watchdog", Problem, "no WatchdogSec=", edit + "WatchdogSec=20s"},
	{"watchdog: infinite", "", unit("WatchdogUSec=infinity"), "watchdog", Problem, "no WatchdogSec=", "WatchdogSec=20s"},
	{"watchdog: short", "", unit("WatchdogUSec=500ms"), "watchdog", Warning, "500ms", "WatchdogSec=20s"},
	{"watchdog: started without", "", func(f *Facts) { delete(f.Process.Environ, "WATCHDOG_USEC") }, "watchdog", Problem, "changed since", "systemctl restart"},
	{"watchdog: stopped", "", stopped, "watchdog", Unknown, "only when", "when it runs"},
	{"watchdog: before the start", "", beforeStart, "watchdog", OK, "20s", ""},

	{"restart: no", "", unit("Restart=no"), "restart", Problem, "stays down", edit + "Restart=on-failure and RestartSec=250ms"},
	{"restart: on-abort", "", unit("Restart=on-abort"), "restart", Warning, "not every failure", "Restart=on-failure"},
	{"restart: limited", "", unit("StartLimitIntervalUSec=10s"), "restart", Warning, "after 5 starts in 10s", "systemctl edit greetd.service: [Unit] StartLimitIntervalSec=0"},

	{"journal: stderr, as configured", "", func(f *Facts) { f.Daemon.LogOutput, f.Config.LogOutput = "stderr", "stderr" }, "journal", Warning, "without fields", "log: {output: auto} in greetd.yaml; then systemctl reload greetd.service"},
	{"journal: stdout, as configured", "", func(f *Facts) { f.Daemon.LogOutput, f.Config.LogOutput = "stdout", "stdout" }, "journal", Warning, "to stdout, as text without fields", "log: {output: auto} in greetd.yaml; then systemctl reload greetd.service"},
	{"journal: stderr to a file", "", all(unit("StandardError=file:/x"), func(f *Facts) { f.Daemon.LogOutput = "stderr" }), "journal", Warning, "StandardError=file:/x", edit + "StandardError=journal"},
	{"journal: nowhere", "", all(unit("StandardOutput=null", "StandardError=inherit"), func(f *Facts) { f.Daemon.LogOutput = "stderr" }), "journal", Problem, "told to nobody", "StandardError=journal"},
	{"journal: stopped", "", all(stopped, unit("StandardError=journal+console")), "journal", OK, "to the journal", ""},
	{"journal: syslog", "", func(f *Facts) { f.Daemon.LogOutput, f.Config.LogOutput = "syslog", "syslog" }, "journal", OK, "to syslog", ""},
	{"journal: dropped", "", func(f *Facts) { f.Daemon.LogDropped = 7 }, "journal", Warning, "7 entries were lost", "log.rate"},

	{"journal-rate: no limit of ours", "", func(f *Facts) { f.Config.LogRate = 0 }, "journal-rate", Warning, "log.rate is 0", "rate: 300"},
	{"journal-rate: above journald's", "", func(f *Facts) { f.Config.LogRate = 1000 }, "journal-rate", Warning, "31000 visits in 30s", "LogRateLimitIntervalSec=30 and LogRateLimitBurst=34100"},
	{"journal-rate: above the unit's", "", unit("LogRateLimitIntervalUSec=10s", "LogRateLimitBurst=100"), "journal-rate", Warning, "exceeds 100", "LogRateLimitBurst=4400"},
	{"journal-rate: journald's off", "", func(f *Facts) { f.Config.LogRate, f.Journald.Interval = 0, 0 }, "journal-rate", OK, "does not limit", ""},
	{"journal-rate: the unit's off", "", all(unit("LogRateLimitIntervalUSec=1us", "LogRateLimitBurst=10000"), func(f *Facts) { f.Config.LogRate = 0 }), "journal-rate", OK, "does not limit", ""},
	{"journal-rate: no visits", "", func(f *Facts) { f.Config.LogRate, f.Config.LogVisits = 0, "none" }, "journal-rate", OK, "not logged", ""},
	{"journal-rate: not seen", "", func(f *Facts) { f.Journald = RateLimit{} }, "journal-rate", Unknown, "can't be seen", "cat-config"},
	{"journal-rate: no configuration", "", func(f *Facts) { f.Config = Config{Problems: []string{"bad"}} }, "journal-rate", Unknown, "no log.rate", "greetd check"},
	{"journal-rate: syslog", "", func(f *Facts) { f.Daemon.LogOutput = "syslog" }, "journal-rate", NotApplicable, "does not go to journald", ""},

	{"socket-units: not required", "252-socket", unit("Requires=system.slice"), "socket-units", Warning, "does not require greetd.socket", "[Unit] Requires=greetd.socket and After=greetd.socket"},
	{"socket-units: kept out", "", socket("UnitFileState=enabled", "ActiveState=failed"), "socket-units", Problem, "enabled, but failed", "systemctl stop greetd.service; systemctl start greetd.socket"},
	{"socket-units: ignored", "252-socket", all(unit("NFileDescriptorStore=1"), func(f *Facts) { f.Daemon.Listeners[0].Origin = OwnBind }), "socket-units", Problem, "without its sockets", "systemctl restart"},
	{"socket-units: Accept=yes", "252-socket", socket("Accept=yes"), "socket-units", Problem, "Accept=yes", "systemctl edit greetd.socket: [Socket] Accept=no; then systemctl stop greetd.service greetd.socket; systemctl start greetd.socket"},
	{"socket-units: DeferAccept", "252-socket", socket("DeferAcceptUSec=1min"), "socket-units", Problem, "kept out for 1m0s", "DeferAcceptSec=0"},
	{"socket-units: trigger limit", "252-socket", socket("TriggerLimitIntervalUSec=2s"), "socket-units", Warning, "20 starts in 2s", "TriggerLimitIntervalSec=0"},
	{"socket-units: idle", "252-socket", stopped, "socket-units", OK, "greetd.socket", ""},

	{"fd-store: none", "", unit("FileDescriptorStoreMax=0", "NFileDescriptorStore=0"), "fd-store", Problem, "FileDescriptorStoreMax=0", edit + "FileDescriptorStoreMax=32" + again},
	{"fd-store: small", "", func(f *Facts) {
		f.Daemon.Listeners = slices.Repeat(f.Daemon.Listeners, 40)
	}, "fd-store", Problem, "clients of 8 listeners", "FileDescriptorStoreMax=80"},
	{"fd-store: empty", "", unit("NFileDescriptorStore=0"), "fd-store", Problem, "keeps 0 of greetd's 1 listener", "systemctl restart"},
	{"fd-store: stopped", "", all(stopped, unit("FileDescriptorStoreMax=0")), "fd-store", Problem, "clients of 1 listener", "FileDescriptorStoreMax=32"},
	{"fd-store: came back", "", func(f *Facts) { f.Daemon.Listeners[0].Origin = FDStore }, "fd-store", OK, "1 listener kept", ""},

	{"descriptors: few", "", func(f *Facts) { f.Daemon.MaxConnections = 70000 }, "descriptors", Problem, "is 70000, and needs 70064", edit + "LimitNOFILE=70064" + again + "; or limits.connections: 19936"},
	{"descriptors: just enough", "", func(f *Facts) { f.Daemon.MaxConnections = 20000 - 64 }, "descriptors", OK, "19936 connections", ""},
	{"descriptors: one missing", "", func(f *Facts) { f.Daemon.MaxConnections = 20000 - 63 }, "descriptors", Problem, "needs 20001", "19936"},
	{"descriptors: the container's", "", func(f *Facts) { f.Daemon.MaxConnections, f.Container = 30000, "systemd-nspawn" }, "descriptors", Problem, "may have 20000", "limits.connections: 19936 in greetd.yaml; or more for the container, which limits LimitNOFILE= (systemd-nspawn --rlimit=NOFILE=30064, docker --ulimit nofile=30064)"},
	{"descriptors: raised by now", "", func(f *Facts) { f.Daemon.MaxConnections = 30000 }, "descriptors", Problem, "may have 20000", "systemctl restart greetd.service, since"},
	{"descriptors: a shell's", "", all(fromShell, func(f *Facts) { f.Daemon.MaxConnections = 70000 }), "descriptors", Problem, "needs 70064", "ulimit -n 70064"},
	{"descriptors: no limit", "", func(f *Facts) { f.Daemon.MaxConnections = 0 }, "descriptors", OK, "no limit", ""},
	{"descriptors: stopped", "", all(stopped, unit("LimitNOFILE=1024")), "descriptors", Problem, "may have 1024", "LimitNOFILE=10064"},
	{"descriptors: nothing known", "", all(stopped, func(f *Facts) { f.Config = Config{} }), "descriptors", Unknown, "neither", "greetd check"},

	{"backlog: somaxconn", "", func(f *Facts) { f.Backlogs[0].Max, f.Somaxconn = 128, 128 }, "backlog", Problem, "net.core.somaxconn is 128", "net.core.somaxconn=4096 >/etc/sysctl.d/60-greetd-tcp.conf; systemctl restart systemd-sysctl; systemctl stop greetd.service; systemctl start greetd.service"},
	{"backlog: somaxconn of old", "", func(f *Facts) { f.Backlogs[0].Max = 128 }, "backlog", Problem, "was lower", "systemctl stop greetd.service; systemctl start greetd.service"},
	{"backlog: the socket unit's", "252-socket", all(socket("Backlog=128"), func(f *Facts) { f.Backlogs[0].Max = 128 }), "backlog", Warning, "greetd.socket has Backlog=128", "systemctl edit greetd.socket: [Socket] Backlog=4096"},
	{"backlog: cut", "252-socket", func(f *Facts) { f.Backlogs[0].Max, f.Somaxconn = 128, 128 }, "backlog", Problem, "net.core.somaxconn is 128", "systemctl stop greetd.service greetd.socket; systemctl start greetd.socket"},
	{"backlog: a shell's", "", all(fromShell, func(f *Facts) { f.Backlogs[0].Max, f.Somaxconn = 128, 128 }), "backlog", Problem, "128", "start greetd again"},
	{"backlog: without systemd", "", all(withoutSystemd, func(f *Facts) { f.Backlogs[0].Max, f.Somaxconn = 128, 128 }), "backlog", Problem, "128", "echo 4096 >/proc/sys/net/core/somaxconn"},
	{"backlog: idle behind its socket", "252-socket", all(stopped, func(f *Facts) { f.Backlogs[0].Max, f.Somaxconn = 128, 128 }), "backlog", Problem, "128", "somaxconn"},
	{"backlog: to come", "", all(stopped, func(f *Facts) { f.Somaxconn = 128 }), "backlog", Problem, "somaxconn is 128", "somaxconn=4096"},
	{"backlog: elsewhere", "", func(f *Facts) { f.Backlogs = []Backlog{} }, "backlog", Unknown, "network namespace", "ss -ltn"},
	{"backlog: not seen", "", func(f *Facts) { f.Backlogs = nil }, "backlog", Unknown, "can't be seen", "ss -ltn"},
	{"backlog: not told", "", silent, "backlog", Unknown, "does not tell", "ss -ltn"},
	{"backlog: unix only", "", func(f *Facts) { f.Daemon.Listeners[0].Address = "unix:/run/x" }, "backlog", NotApplicable, "no TCP", ""},

	{"resources: no controllers", "", func(f *Facts) { f.Unit.Controllers = []string{"cpu"} }, "resources", Warning, "MemoryMax=256M and TasksMax=256 is enforced here: control group without memory and pids", "cgroup_enable=memory"},
	{"resources: no controllers in a container", "", func(f *Facts) { f.Unit.Controllers, f.Container = []string{"pids"}, "lxc" }, "resources", Warning, "without memory", "delegate the controllers memory to the container"},
	{"resources: not seen", "", func(f *Facts) { f.Unit.Controllers = nil }, "resources", Unknown, "can't be seen", ""},
	{"resources: no limits", "", unit("MemoryMax=infinity"), "resources", Warning, "no MemoryMax=", edit + "MemoryMax=256M"},

	{"address-filters: none", "", unit("IPAddressDeny=", "IPAddressAllow="), "address-filters", NotApplicable, "none", ""},
	{"address-filters: narrow", "", unit("IPAddressAllow=10.0.0.0/8 ::1/128"), "address-filters", OK, "greetd.service lets in 10.0.0.0/8 ::1/128", ""},
	{"address-filters: a few kept out", "", unit("IPAddressDeny=192.0.2.0/24", "IPAddressAllow="), "address-filters", OK, "greetd.service keeps out 192.0.2.0/24", ""},
	{"address-filters: a few kept out, of nobody", "252-socket", unit("IPAddressDeny=192.0.2.0/24", "IPAddressAllow="), "address-filters", Problem, "never see clients", "into greetd.socket"},
	{"address-filters: no BPF", "", func(f *Facts) { f.Unit.Filtering = new(false) }, "address-filters", Warning, "keep nobody out", "CONFIG_CGROUP_BPF"},
	{"address-filters: no BPF, narrow", "", all(unit("IPAddressAllow=10.0.0.0/8"), func(f *Facts) { f.Unit.Filtering, f.Container = new(false), "systemd-nspawn" }), "address-filters", Problem, "are not active", "--system-call-filter=bpf"},
	{"address-filters: no BPF, one family", "", all(unit("IPAddressAllow=0.0.0.0/0"), func(f *Facts) { f.Unit.Filtering = new(false) }), "address-filters", Problem, "are not active", "access.deny"},
	{"address-filters: no BPF, no network", "252-socket", func(f *Facts) { f.Unit.Filtering = new(false) }, "address-filters", Warning, "without a network", "CONFIG_CGROUP_BPF"},
	{"address-filters: no BPF, socket", "252-socket", all(socket("IPAddressDeny=0.0.0.0/0 ::/0"), func(f *Facts) { f.Sockets[0].Filtering = new(false) }), "address-filters", Problem, "filters of greetd.socket are not active", "BPF"},
	{"address-filters: socket", "252-socket", all(socket("IPAddressDeny=::/0 0.0.0.0/0", "IPAddressAllow=10.0.0.0/8"), func(f *Facts) { f.Sockets[0].Filtering = new(true) }), "address-filters", OK, "greetd.service lets in nobody; greetd.socket lets in 10.0.0.0/8", ""},
	{"address-filters: in the wrong unit", "252-socket", unit("IPAddressAllow=10.0.0.0/8"), "address-filters", Problem, "never see clients that come through greetd.socket", "into greetd.socket"},
	{"address-filters: not for us", "", forbidden, "address-filters", Unknown, "can't be seen", "sudo"},
	{"address-filters: stopped", "", stopped, "address-filters", Unknown, "when it runs", "again"},

	{"sandbox: root", "", func(f *Facts) { f.Process.UID = 0; set(&f.Unit, []string{"DynamicUser=no"}) }, "sandbox", Problem, "runs as root", edit + "DynamicUser=yes and User=greetd-tcp and Group=greetd-tcp" + again},
	{"sandbox: capabilities", "", func(f *Facts) { f.Process.Capabilities = 1 << 10 }, "sandbox", Warning, "capabilities (0x400)", edit + "CapabilityBoundingSet="},
	{"sandbox: privileges", "", all(unit("NoNewPrivileges=no"), func(f *Facts) { f.Process.NoNewPrivs = false }), "sandbox", Warning, "gain privileges", edit + "NoNewPrivileges=yes"},
	{"sandbox: privileges, against the unit", "", func(f *Facts) { f.Process.NoNewPrivs = false }, "sandbox", Problem, "though the unit has NoNewPrivileges=yes", "systemctl restart greetd.service"},
	{"sandbox: system calls", "", all(unit("SystemCallFilter="), func(f *Facts) { f.Process.Filtered = false }), "sandbox", Warning, "every system call", "SystemCallFilter=@system-service"},
	{"sandbox: writable", "", all(unit("ProtectSystem=no"), func(f *Facts) { f.Process.ReadOnlyRoot = new(false) }), "sandbox", Warning, "write to the file system", "ProtectSystem=strict"},
	{"sandbox: no mount namespace", "", func(f *Facts) { f.Process.ReadOnlyRoot, f.Container = new(false), "docker" }, "sandbox", Problem, "though the unit has ProtectSystem=strict", "container (docker)"},
	{"sandbox: no network namespace", "252-socket", func(f *Facts) { f.Process.OwnNetwork = new(false) }, "sandbox", Problem, "though the unit has PrivateNetwork=yes", "systemctl restart"},
	{"sandbox: no user namespace", "", func(f *Facts) { f.Process.OwnUsers = new(false) }, "sandbox", Problem, "though the unit has PrivateUsers=yes", "kernel"},
	{"sandbox: a shell", "", fromShell, "sandbox", Problem, "greetd runs as root; has capabilities", "run greetd by its unit"},
	{"sandbox: without systemd", "", all(fromShell, withoutSystemd, func(f *Facts) { f.Process.UID = 1 }), "sandbox", Warning, "can gain privileges", "docker run --user"},
	{"sandbox: doctor is root before the start", "", all(beforeStart, func(f *Facts) { f.Process.UID = 0 }), "sandbox", NotApplicable, "outside", ""},
	{"sandbox: doctor is in it", "", beforeStart, "sandbox", OK, "user ", ""},

	{"name-collision: package", "", func(f *Facts) { f.Namesake.Package = "installed" }, "name-collision", Problem, "its package greetd is installed", "apt-get purge greetd"},
	{"name-collision: program", "", func(f *Facts) { f.Namesake.Programs = []string{"/usr/sbin/greetd"} }, "name-collision", Problem, "/usr/sbin/greetd is another program", "make uninstall"},
	{"name-collision: alias", "", unit("Names=greetd.service display-manager.service"), "name-collision", Problem, "greetd.service is also display-manager.service", "rm -f /etc/systemd/system/display-manager.service"},
	{"name-collision: leftovers", "", func(f *Facts) { f.Namesake = Namesake{Package: "config-files", PAM: true} }, "name-collision", Warning, "has left /etc/pam.d/greetd", "purge"},
	{"name-collision: never there", "", func(f *Facts) { f.Namesake.Package = "not-installed" }, "name-collision", OK, "no login manager", ""},

	{"permission: an ordinary user", "", forbidden, "permission", Unknown, "can't be seen by this user", "sudo greetd doctor"},
	{"permission: in the sandbox", "", all(beforeStart, func(f *Facts) { f.Root = false }), "permission", Unknown, "in its sandbox", "ExecStartPre=+/usr/sbin/greetd doctor"},
	{"user's own manager", "", all(unit("Restart=no"), func(f *Facts) { f.Systemd.User = true }), "restart", Problem, "stays down", "systemctl --user edit greetd.service"},
}

func TestFindsWhatIsWrong(t *testing.T) {
	for _, c := range changes {
		t.Run(c.name, func(t *testing.T) {
			f := well(t, max(c.place, "252-own"))
			c.do(&f)
			r := Examine(f)
			i := slices.IndexFunc(r.Findings, func(f Finding) bool {
				return f.Check == c.check && f.Verdict == c.verdict && strings.Contains(f.Found, c.found) && strings.Contains(f.Remedy, c.remedy)
			})
			if i < 0 {
				var all strings.Builder
				_ = r.WriteText(&all)
				t.Errorf("no %s from %s about %q with the remedy %q in:\n%s", c.verdict, c.check, c.found, c.remedy, all.String())
			}
		})
	}
}

// What one change does not touch stays as it was: the cause is found, and not a crowd
// of its consequences.
func TestBlamesNothingElse(t *testing.T) {
	for _, c := range changes {
		if c.verdict != Problem || strings.Contains(c.name, "a shell") || c.check == "daemon" {
			continue // what stops the daemon, or takes it out of its unit, touches all
		}
		f := well(t, max(c.place, "252-own"))
		c.do(&f)
		for _, finding := range Examine(f).Findings {
			if finding.Verdict == Problem && finding.Check != c.check && f.Daemon != nil {
				t.Errorf("%s: blames also %+v", c.name, finding)
			}
		}
	}
}

func TestEveryReportIsComplete(t *testing.T) {
	reports := map[string]Report{"of nothing": Examine(Facts{})}
	for _, c := range changes {
		f := well(t, max(c.place, "252-own"))
		c.do(&f)
		reports[c.name] = Examine(f)
	}
	for name, r := range reports {
		counts := map[Verdict]int{Problem: 0, Warning: 0, Unknown: 0, OK: 0, NotApplicable: 0}
		seen := make(map[string]bool)
		worst := 0
		for _, f := range r.Findings {
			counts[f.Verdict]++
			seen[f.Check] = true
			rank := slices.Index(worstFirst, f.Verdict)
			if rank < worst {
				t.Errorf("%s: %s comes after better ones", name, f.Check)
			}
			worst = rank
			if (f.Verdict == Problem || f.Verdict == Warning) != (f.Remedy != "") && f.Verdict != Unknown {
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
		f := well(t, max(c.place, "252-own"))
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
	f := well(t, "252-own")
	f.Daemon.MaxConnections = 70000
	f.Unit.Controllers = []string{"cpu"}
	f.Daemon.Listeners[0].Trouble = "\x1b[2Jtoo many\nopen files"
	var got strings.Builder
	if err := Examine(f).WriteText(&got); err != nil {
		t.Fatal(err)
	}
	if want := read(t, "report.txt"); got.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", got.String(), want)
	}
}

func TestJSON(t *testing.T) {
	f := well(t, "252-own")
	f.Unit.Properties["Type"] = "simple"
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
