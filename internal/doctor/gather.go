package doctor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/procfs"
)

// askTimeout bounds all questions to systemd, and to other programs.
const askTimeout = 15 * time.Second

// maxComm is how much of its name a process has in /proc/PID/comm.
const maxComm = 15

// A Place is what Gather needs to know.
type Place struct {
	// Unit is the one that would start greetd: greetd.service.
	Unit string

	// Module is the module that greetd is built from, to distinguish it from others of
	// its name; "" if that is not known.
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
// error. It changes nothing, starts systemd-analyze and dpkg-query, and takes a moment;
// ctx can end it early.
func Gather(ctx context.Context, p Place) Facts {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	f := Facts{
		Now:               time.Now(),
		Root:              os.Geteuid() == 0,
		Container:         firstLine(readFile("/run/systemd/container")),
		DescriptorsBeside: p.DescriptorsBeside,
		Unit:              Unit{Name: p.Unit},
	}
	f.Somaxconn, _ = strconv.Atoi(firstLine(readFile("/proc/sys/net/core/somaxconn")))
	f.Daemon, f.Silence = p.Ask(ctx)
	if f.Daemon != nil && look(f.Daemon.PID) == nil { // it may have ended since
		f.Daemon, f.Silence = p.Ask(ctx)
	}
	switch {
	case f.Daemon != nil:
		f.Process = look(f.Daemon.PID)
	case os.Getenv("SYSTEMD_EXEC_PID") == strconv.Itoa(os.Getpid()):
		f.Process = look(os.Getpid())
		f.Process.Self = true
	}
	var systemd *manager
	if info, err := os.Lstat("/run/systemd/system"); err == nil && info.IsDir() { // sd_booted(3)
		f.Systemd.Booted = true
		if systemd = f.askSystemd(ctx, p); systemd != nil {
			defer systemd.Close()
		}
	}
	f.Config = p.Configure(f.environ())
	if info, err := os.Stat(f.Config.Path); f.Config.Path != "" && err == nil {
		f.Config.File = fileOf(info)
		for _, path := range append([]string{f.Config.Path + ".d"}, f.Config.DropIns...) {
			if info, err := os.Stat(path); err == nil && info.ModTime().After(f.Config.File.Changed) {
				f.Config.File.Changed = info.ModTime()
			}
		}
	}
	if f.Daemon != nil {
		if path, isUnix := strings.CutPrefix(f.Daemon.Asked, "unix:/"); isUnix {
			if info, err := os.Stat("/" + path); err == nil {
				f.AdminSocket = fileOf(info)
			}
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
	f.Namesake.look(ctx, p.Module)
	return f
}

// unanswered is why no datagram can be sent to a unix socket; "" if it can.
func unanswered(ctx context.Context, path string) string {
	c, err := new(net.Dialer).DialContext(ctx, "unixgram", path)
	switch {
	case err == nil:
		_ = c.Close()
	case ctx.Err() == nil: // or else it was not asked
		return err.Error()
	}
	return ""
}

func (f *Facts) unseen(format string, args ...any) {
	f.Unseen = append(f.Unseen, fmt.Sprintf(format, args...))
}

// environ is that of the daemon, or what its unit would give it, with the file that the
// unit names; nil is the caller's.
func (f *Facts) environ() []string {
	var environ []string
	switch p := f.Process; {
	case p != nil && p.Self, p == nil && !f.Unit.loaded():
		return nil
	case p != nil && p.Environ != nil:
		for key, value := range p.Environ {
			environ = append(environ, key+"="+value)
		}
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

// look returns what /proc shows of a process, or nil if there is none.
func look(pid int) *Process {
	proc, err := procfs.NewProc(pid)
	if err != nil {
		return nil
	}
	status, err := proc.NewStatus()
	if err != nil {
		return nil
	}
	p := &Process{PID: pid, UID: int(status.UIDs[1]), GIDs: []int{int(status.GIDs[1])}}
	_, groups, _ := strings.Cut(readFile(fmt.Sprintf("/proc/%d/status", pid)), "\nGroups:")
	for group := range strings.FieldsSeq(firstLine(groups)) {
		if gid, err := strconv.Atoi(group); err == nil {
			p.GIDs = append(p.GIDs, gid)
		}
	}
	if limits, err := proc.Limits(); err == nil {
		p.MaxFiles = limits.OpenFiles
	}
	if environ, err := proc.Environ(); err == nil {
		p.Environ = make(map[string]string)
		for _, entry := range environ {
			key, value, _ := strings.Cut(entry, "=")
			p.Environ[key] = value
		}
	}
	return p
}

// isGreetd reports whether the main process of u is what ExecStart= says, or greetd. Before it is, it is a
// child of systemd: as root, without a sandbox, and with its name in parentheses.
func (p *Process) isGreetd(u *Unit) bool {
	name := strings.TrimSuffix(readFile(fmt.Sprintf("/proc/%d/comm", p.PID)), "\n")
	program, _ := command(u.ExecStart)
	program = filepath.Base(program)
	return name == "greetd" || name == program[:min(len(program), maxComm)]
}

// readFile is "" for a file that can't be read.
func readFile(path string) string {
	text, _ := os.ReadFile(path)
	return string(text)
}

// look looks for the signs of the login manager, as make install does.
func (n *Namesake) look(ctx context.Context, module string) {
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
