package doctor

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"greetd.example/internal/words"
	"greetd.example/pkg/systemd"
)

// nobodyID is the user and the group that own nothing, on every system.
const nobodyID = 65534

// A Reach is an attempt to reach a unix socket as a local user without privileges.
type Reach struct {
	Listener, Path string
	As             string // who tried: "user nobody", "group adm"
	Refused        string // the directory or socket that they may not use; "" if they may
	Missing        bool   // there is no such file
	Hidden         bool   // there is one for the daemon only: the sandbox hides it
}

// reach tries the unix sockets of the daemon that somebody else than its user may use: as root in the
// place of an ordinary user, or else as the caller.
func (f *Facts) reach(ctx context.Context) {
	if f.Daemon == nil || f.Process == nil {
		return
	}
	for _, l := range f.Daemon.Listeners {
		path, isUnix := strings.CutPrefix(l.Address, "unix:")
		mode := f.modeOf(l)
		if !isUnix || strings.HasPrefix(path, "@") || mode&0o022 == 0 || mode&0o002 == 0 && !f.Root {
			continue
		}
		r := Reach{Listener: l.Name, Path: path, As: "user nobody"}
		info, err := os.Stat(path)
		as := &syscall.Credential{Uid: nobodyID, Gid: nobodyID}
		switch {
		case err != nil && f.Root:
			_, err := os.Stat(fmt.Sprintf("/proc/%d/root%s", f.Daemon.PID, path))
			r.Missing, r.Hidden = true, err == nil
		case !f.Root:
			r.As, as = "this user", nil
		case mode&0o002 == 0:
			as.Gid = uint32(fileOf(info).GID)
			r.As = fmt.Sprintf("group %d", as.Gid)
		}
		if !r.Missing {
			r.Refused = refused(ctx, path, as)
		}
		f.Reached = append(f.Reached, r)
	}
}

// modeOf is what the file of l's socket should have: of the socket unit, or else of the configuration.
func (f *Facts) modeOf(l Listener) fs.FileMode {
	for _, s := range f.Sockets {
		if l.Origin == systemd.SocketUnit && slices.Contains(s.streams(), strings.TrimPrefix(l.Address, "unix:")) {
			return fs.FileMode(s.SocketMode)
		}
	}
	for _, c := range f.Config.Listeners {
		if c.Name == l.Name {
			return c.Mode
		}
	}
	return 0
}

// refused returns what of path this user may not use: connect(2) needs the right to write to the socket
// and to search each directory above it.
func refused(ctx context.Context, path string, as *syscall.Credential) string {
	may := func(test, path string) bool {
		cmd := exec.CommandContext(ctx, "test", test, path)
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as}
		return cmd.Run() == nil
	}
	if may("-w", path) {
		return ""
	}
	target, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err != nil {
		return path
	}
	for i, c := range target {
		if c == '/' && i > 0 && !may("-x", target[:i]) {
			return target[:i]
		}
	}
	if !may("-x", target) {
		return target
	}
	return path
}

// unixSockets is about those that other users of this machine should reach.
func unixSockets(f *Facts, r *results) {
	for _, tried := range f.Reached {
		switch {
		case tried.Hidden:
			r.problem(fmt.Sprintf("address: unix:/run/greetd/%s in greetd.yaml, with RuntimeDirectory=greetd in the unit; then %s",
				filepath.Base(tried.Path), f.systemctl("restart", f.Unit.Name)),
				"no client can reach %s of listener %s: the sandbox of %s hides it, as PrivateTmp= does", tried.Path, tried.Listener, f.Unit.Name)
		case tried.Missing:
			r.problem(f.apply(), "no client can reach %s of listener %s: there is no such file", tried.Path, tried.Listener)
		case tried.Refused == tried.Path:
			r.problem(f.apply(), "%s can't connect to %s of listener %s: the mode of the file is not that of the configuration", tried.As, tried.Path, tried.Listener)
		case tried.Refused != "":
			r.problem(f.openDirectory(tried.Refused), "%s can't connect to %s of listener %s: permission denied at %s", tried.As, tried.Path, tried.Listener, tried.Refused)
		}
	}
	if len(f.Reached) == 0 {
		r.notApplicable("no unix socket for other users is known")
	}
	r.ok("other users reach %s", words.Count(len(f.Reached), "unix socket"))
}

// openDirectory is how to let others search a directory above a socket.
func (f *Facts) openDirectory(directory string) string {
	switch {
	case directory == "/run/private" || strings.HasPrefix(directory, "/run/private/"):
		return f.set("RuntimeDirectoryPreserve=no")
	case f.byUnit() && slices.Contains(f.Unit.RuntimeDirectory, strings.TrimPrefix(directory, "/run/")):
		return f.set("RuntimeDirectoryMode=0755")
	}
	return "chmod a+x " + directory
}
