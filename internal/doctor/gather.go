package doctor

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// patience bounds each question to systemd.
const patience = 10 * time.Second

// A Place is what Gather is told.
type Place struct {
	// Unit is the one that would start greetd: greetd.service.
	Unit string

	// Module is the module that greetd is built from, to tell it from others of its
	// name; "" can't tell.
	Module string

	// DescriptorsBeside is how many greetd needs apart from its clients.
	DescriptorsBeside int

	// Ask asks the daemon. The Daemon is nil if that does not answer, and then the
	// Silence says why.
	Ask func(context.Context) (*Daemon, Silence)

	// Configure loads the configuration with this environment, the daemon's own; nil
	// is the caller's.
	Configure func(environ []string) Config
}

// Gather looks at this machine. What can't be seen is left out of the facts, and is no
// error. It changes nothing, starts systemctl, systemd-analyze and dpkg-query, and
// takes a moment; ctx can end it early.
func Gather(ctx context.Context, p Place) Facts {
	f := Facts{
		Root:              os.Geteuid() == 0,
		Container:         container(),
		Systemd:           Systemd{Booted: booted()},
		Somaxconn:         somaxconn(),
		DescriptorsBeside: p.DescriptorsBeside,
	}
	f.Daemon, f.Silence = p.Ask(ctx)
	f.Unit.Name = p.Unit
	if f.Systemd.Booted {
		askSystemd(ctx, p, &f)
	} else if f.Daemon != nil {
		f.Process = look(f.Daemon.PID)
	}
	var environ []string
	if f.Process != nil && !f.Process.Self {
		for key, value := range f.Process.Environ {
			environ = append(environ, key+"="+value)
		}
	}
	f.Config = p.Configure(environ)
	if info, err := os.Stat(f.Config.Path); f.Config.Path != "" && err == nil {
		f.Config.File = fileOf(info)
	}
	f.Backlogs, _ = listening()
	f.Namesake = namesake(ctx, p.Module)
	return f
}

// askSystemd finds the process and its unit, in the order in which they tell of each
// other.
func askSystemd(ctx context.Context, p Place, f *Facts) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	version, err := run(ctx, "systemctl", "show", "--property=Version", "--value")
	if err != nil {
		f.Systemd.Trouble = err.Error()
	}
	f.Systemd.Version = leadingNumber(version)

	switch {
	case f.Daemon != nil:
		f.Process = look(f.Daemon.PID)
	case os.Getenv("SYSTEMD_EXEC_PID") == strconv.Itoa(os.Getpid()):
		f.Process = look(os.Getpid())
		f.Process.Self = true
	}
	if f.Process != nil && strings.HasSuffix(f.Process.Group, ".service") {
		f.Unit.Name = f.Process.Group
		f.Systemd.User = f.Process.Manager >= 0
	}
	if f.Systemd.Version == 0 || f.Systemd.User && f.Process.Manager != os.Geteuid() {
		return
	}
	f.Unit.Properties = show(ctx, f.Systemd, f.Unit.Name)
	if f.Unit.Name != p.Unit && f.outside() { // a shell's, which may be in the service of sshd
		f.Systemd.User = false
		f.Unit = Unit{Name: p.Unit, Properties: show(ctx, f.Systemd, p.Unit)}
	}
	askAgain(ctx, p, f)
	if pid := f.Unit.number("MainPID"); f.Process == nil && pid > 0 {
		f.Process = look(pid)
	}
	f.Unit.Controllers = controllers(f.Unit)
	f.Unit.Filtering = filtering(f.Unit)
	f.Sockets = socketsOf(ctx, f.Systemd, f.Unit)
	if text, err := run(ctx, "systemd-analyze", "cat-config", "systemd/journald.conf"); err == nil {
		f.Journald = parseRateLimit(text)
	}
}

// askAgain gives a daemon that was started just now a moment to listen: with a wrong
// Type= systemd calls it active before that.
func askAgain(ctx context.Context, p Place, f *Facts) {
	again := time.NewTicker(200 * time.Millisecond)
	defer again.Stop()
	for range 10 {
		if f.Daemon != nil || !f.Silence.Nobody || !f.Unit.active() {
			return
		}
		select {
		case <-again.C:
			f.Daemon, f.Silence = p.Ask(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// show returns the properties of a unit, nil if systemd doesn't tell.
func show(ctx context.Context, s Systemd, unit string) map[string]string {
	args := []string{"show", "--no-pager", unit}
	if s.User {
		args = append(args, "--user")
	}
	text, err := run(ctx, "systemctl", args...)
	if err != nil {
		return nil
	}
	return parseShow(text)
}

// socketsOf returns the socket units that are there for a service: those that name it,
// and the one of the same name.
func socketsOf(ctx context.Context, m Systemd, u Unit) []Unit {
	names := []string{strings.TrimSuffix(u.Name, ".service") + ".socket"}
	for _, name := range u.words("TriggeredBy") {
		if strings.HasSuffix(name, ".socket") && name != names[0] {
			names = append(names, name)
		}
	}
	var sockets []Unit
	for _, name := range names {
		s := Unit{Name: name, Properties: show(ctx, m, name)}
		s.Filtering = filtering(s)
		if s.loaded() {
			sockets = append(sockets, s)
		}
	}
	return sockets
}

// controllers are those of a unit's control group: of version 2, the only one that can
// be judged from here. One that doesn't run has none, and will have what there is.
func controllers(u Unit) []string {
	text, err := os.ReadFile(filepath.Join("/sys/fs/cgroup", u.Properties["ControlGroup"], "cgroup.controllers"))
	if err != nil {
		return nil
	}
	return append([]string{}, strings.Fields(string(text))...)
}

func booted() bool {
	info, err := os.Lstat("/run/systemd/system")
	return err == nil && info.IsDir()
}

// container returns what systemd, docker or podman left for those inside.
func container() string {
	if text, err := os.ReadFile("/run/systemd/container"); err == nil {
		return strings.TrimSpace(string(text))
	}
	for path, name := range map[string]string{"/.dockerenv": "docker", "/run/.containerenv": "podman"} {
		if _, err := os.Stat(path); err == nil {
			return name
		}
	}
	return ""
}

func somaxconn() int {
	text, err := os.ReadFile("/proc/sys/net/core/somaxconn")
	if err != nil {
		return 0
	}
	return leadingNumber(string(text))
}

// leadingNumber reads the 257 of "257.13-1~deb13u1"; 0 if there is none.
func leadingNumber(text string) int {
	end := strings.IndexFunc(text, func(r rune) bool { return r < '0' || r > '9' })
	if end >= 0 {
		text = text[:end]
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0
	}
	return n
}

// namesake looks for the signs of the login manager, as make install does.
func namesake(ctx context.Context, module string) Namesake {
	var n Namesake
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if state, err := run(ctx, "dpkg-query", "-W", "-f", "${db:Status-Status}", "greetd"); err == nil {
		n.Package = strings.TrimSpace(state)
	}
	seen := make(map[string]bool)
	for _, path := range []string{"/usr/sbin/greetd", "/usr/bin/greetd", "/usr/local/sbin/greetd", "/usr/local/bin/greetd"} {
		target, err := filepath.EvalSymlinks(path) // where /usr/sbin is /usr/bin, once is enough
		if err != nil || seen[target] {
			continue
		}
		seen[target] = true
		program, err := os.ReadFile(path)
		if module == "" || errors.Is(err, fs.ErrPermission) || err == nil && builtFrom(program, module) {
			continue
		}
		n.Programs = append(n.Programs, path)
	}
	_, err := os.Stat("/etc/pam.d/greetd")
	n.PAM = err == nil
	return n
}

// builtFrom reports whether a program was built from a Go module. All of them have a line
// about it in them, so debug/buildinfo, which knows every format, is not needed for this.
func builtFrom(program []byte, module string) bool {
	return bytes.Contains(program, []byte("\nmod\t"+module+"\t"))
}

func fileOf(info fs.FileInfo) *File {
	f := &File{Mode: uint32(info.Mode().Perm()), Changed: info.ModTime()}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		f.UID, f.GID = int(stat.Uid), int(stat.Gid)
	}
	return f
}
