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

	"greetd.example/internal/admin"
	"greetd.example/internal/words"
	"greetd.example/pkg/systemd"
)

// nobodyID is the ID of the user nobody and of its group, which own no files.
const nobodyID = 65534

// A Reach is an attempt to reach a unix socket as a local user without privileges.
type Reach struct {
	Listener, Path string
	As             string // the user or group of the attempt: "user nobody", "group 4"
	Refused        string // the directory or socket for which the permission is missing; "" if none is
	Missing        bool   // there is no such file
	Hidden         bool   // only the daemon sees the file: the sandbox hides it from others
}

// reach tries the unix sockets of the daemon whose mode allows other users to connect. If the caller is root, it
// tries as an ordinary user, else as the caller.
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

// modeOf returns the mode that the socket of l should have, from the socket unit, or else from the
// configuration.
func (f *Facts) modeOf(l admin.Listener) fs.FileMode {
	for _, s := range f.Sockets {
		if l.Origin == systemd.SocketUnit && slices.Contains(s.streams(), strings.TrimPrefix(l.Address, "unix:")) {
			return fs.FileMode(s.SocketMode)
		}
	}
	for _, c := range f.Config.Listeners {
		if c.Name == l.Name {
			return fs.FileMode(c.Mode)
		}
	}
	return 0
}

// refused returns the directory or socket in path for which this user has no permission; "" if there is none.
// connect(2) needs write permission for the socket, and search permission for each directory above it.
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

// unixSockets checks whether other users of this machine reach the unix sockets that are open to them.
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

// openDirectory returns the remedy that lets other users search a directory above a socket.
func (f *Facts) openDirectory(directory string) string {
	switch {
	case directory == "/run/private" || strings.HasPrefix(directory, "/run/private/"):
		return f.set("RuntimeDirectoryPreserve=no")
	case f.byUnit() && slices.Contains(f.Unit.RuntimeDirectory, strings.TrimPrefix(directory, "/run/")):
		return f.set("RuntimeDirectoryMode=0755")
	}
	return "chmod a+x " + directory
}
