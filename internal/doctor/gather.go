package doctor

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"greetd.example/internal/admin"
	units "greetd.example/internal/unit"
)

// askTimeout is the maximum time of Gather, with all its requests to systemd and other programs.
const askTimeout = 15 * time.Second

// maxComm is the maximum length of the name of a process in /proc/PID/comm.
const maxComm = 15

// A Place has the facts and functions that Gather needs.
type Place struct {
	// Unit is the unit that would start greetd, usually greetd.service.
	Unit string

	// Ask asks the daemon for its status, and returns it with the address of the daemon. If the daemon does not
	// answer, it returns nil, the last address that was tried, and the reason.
	Ask func(context.Context) (*admin.Status, string, error)

	// Configure loads the configuration with environ, the environment of the daemon. nil means the
	// environment of the caller.
	Configure func(environ []string) Config
}

// Gather collects the facts about this machine. It omits facts that it can't see, which is no error. It changes
// nothing. It runs systemd-analyze and dpkg-query, connects to listeners with address filters, and can take
// some seconds. When ctx is done, it returns early.
func Gather(ctx context.Context, p Place) Facts {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	f := Facts{
		Now:       time.Now(),
		Root:      os.Geteuid() == 0,
		Container: firstLine(readFile("/run/systemd/container")),
		Unit:      Unit{Name: p.Unit},
	}
	f.Somaxconn, _ = strconv.Atoi(firstLine(readFile("/proc/sys/net/core/somaxconn")))
	f.Daemon, f.Address, f.Silence = p.Ask(ctx)
	if f.Daemon != nil && look(f.Daemon.PID) == nil { // the process may have ended after its answer
		f.Daemon, f.Address, f.Silence = p.Ask(ctx)
	}
	switch {
	case f.Daemon != nil:
		f.Process = look(f.Daemon.PID)
	case os.Getenv("SYSTEMD_EXEC_PID") == strconv.Itoa(os.Getpid()):
		f.Process = look(os.Getpid())
		f.Process.Self = true
	}
	var systemd *manager
	if f.Systemd.Booted = units.Booted(); f.Systemd.Booted {
		if systemd = f.askSystemd(ctx, p); systemd != nil {
			defer systemd.Close()
		}
	}
	f.Stale = f.Unit.stale(time.Time{})
	f.Config = p.Configure(f.environ())
	if info, err := os.Stat(f.Config.Path); f.Config.Path != "" && err == nil {
		f.Config.File = fileOf(info)
		for _, path := range append([]string{f.Config.Path + ".d"}, f.Config.DropIns...) {
			if info, err := os.Stat(path); err == nil && info.ModTime().After(f.Config.File.Changed) {
				f.Config.File.Changed = info.ModTime()
			}
		}
	}
	if path, isUnix := strings.CutPrefix(f.Address, "unix:"); isUnix && f.Daemon != nil {
		if info, err := os.Stat(path); err == nil {
			f.AdminSocket = fileOf(info)
		}
	}
	f.reach(ctx)
	f.lookAtPorts(ctx, systemd)
	f.tryListeners(ctx)
	switch output := f.logOutput(); {
	case output == "syslog":
		f.Syslog = unanswered(ctx, "/dev/log")
	case !f.Systemd.Booted || f.elsewhere() || f.Process != nil && f.Process.Self:
	case output == "journald", output == "auto" && f.Daemon == nil:
		f.Journal = unanswered(ctx, "/run/systemd/journal/socket")
	}
	f.Namesake.look(ctx)
	return f
}

// unanswered returns the reason why no datagram can be sent to a unix socket; "" if it can.
func unanswered(ctx context.Context, path string) string {
	c, err := new(net.Dialer).DialContext(ctx, "unixgram", path)
	switch {
	case err == nil:
		_ = c.Close()
	case ctx.Err() == nil: // if ctx is done, the socket was not tried
		return err.Error()
	}
	return ""
}

// environ returns the environment of the daemon, or else the environment that its unit sets. GREETD_CONFIG in it
// is the file of --config in ExecStart=, if there is one. It returns nil if the environment of the caller is
// the right one.
func (f *Facts) environ() []string {
	var environ []string
	switch p := f.Process; {
	case p != nil && p.Self, p == nil && !f.Unit.loaded():
		return nil
	case p != nil && p.Environ != nil:
		environ = append([]string{}, p.Environ...)
	default:
		environ = append([]string{}, f.Unit.Environment...)
	}
	_, args := command(f.Unit.ExecStart)
	if i := slices.Index(args, "--config"); i >= 0 && i+1 < len(args) && !f.outside() {
		environ = slices.DeleteFunc(environ, func(entry string) bool { return strings.HasPrefix(entry, "GREETD_CONFIG=") })
		environ = append(environ, "GREETD_CONFIG="+args[i+1])
	}
	return environ
}

// look looks for traces of the login manager, as make install does.
func (n *Namesake) look(ctx context.Context) {
	if state, err := run(ctx, "dpkg-query", "-W", "-f", "${db:Status-Status}", "greetd"); err == nil {
		n.Package = strings.TrimSpace(state)
	}
	self, known := debug.ReadBuildInfo()
	seen := make(map[string]bool)
	for _, path := range []string{"/usr/sbin/greetd", "/usr/bin/greetd", "/usr/local/sbin/greetd", "/usr/local/bin/greetd"} {
		target, err := filepath.EvalSymlinks(path) // the same file can have two of these paths, if /usr/sbin is a link to /usr/bin
		if err != nil || seen[target] || !known {
			continue
		}
		seen[target] = true
		program, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrPermission) || err == nil && builtFrom(program, self.Main.Path) {
			continue
		}
		n.Programs = append(n.Programs, path)
	}
	_, err := os.Stat("/etc/pam.d/greetd")
	n.PAM = err == nil
}

// builtFrom reports whether a program was built from a Go module. Every Go program has a line with its module.
// debug/buildinfo would make greetd 0.4 MB larger, since it reads the files of all systems.
func builtFrom(program []byte, module string) bool {
	return bytes.Contains(program, []byte("\nmod\t"+module+"\t"))
}
