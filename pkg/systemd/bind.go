package systemd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

const (
	defaultMode = 0o666
	maxUnixPath = len(syscall.RawSockaddrUnix{}.Path) - 1 // sun_path of unix(7), less its NUL
)

var (
	errNoAddress = errors.New("an address is host:port, [v6]:port or unix:/path")
	errRelative  = errors.New("the path of a unix socket must be absolute")
)

// networkOf returns tcp4 for 0.0.0.0 and tcp6 for [::], and else tcp. With tcp, the net package would bind
// all addresses of both families for these two.
func networkOf(address string) string {
	host, _, _ := net.SplitHostPort(address)
	switch ip, err := netip.ParseAddr(host); {
	case err != nil || !ip.IsUnspecified():
		return "tcp"
	case ip.Is4():
		return "tcp4"
	default:
		return "tcp6"
	}
}

// bindSocket listens as config says, without any service manager.
//
// TCP sockets have SO_REUSEADDR. On systems other than Linux, ReusePort and Backlog have no effect. A unix socket replaces the file of a socket on which no process
// listens any more, and no other file. During the bind there is a lock file in the same directory,
// with the same name and ".lock", which keeps other processes that bind in this way from using the
// path.
//
// The error is one sentence with its remedy. It wraps the syscall.Errno of the kernel. ctx limits
// the lookup of a name, and the wait while another process binds the same unix socket.
func bindSocket(ctx context.Context, config ListenConfig) (openSocket, error) {
	s := openSocket{Origin: OwnBind, Address: config.Address, ReusePort: config.ReusePort}
	var err error
	if path, isUnix := strings.CutPrefix(config.Address, unixPrefix); isUnix {
		s.Listener, s.file, err = bindUnix(ctx, path, config)
	} else {
		s.Listener, err = bindTCP(ctx, config)
	}
	if err != nil {
		return openSocket{}, fmt.Errorf("listen on %s: %w", config.Address, explain(err, config.Address))
	}
	return s, nil
}

func bindTCP(ctx context.Context, config ListenConfig) (net.Listener, error) {
	_, port, err := net.SplitHostPort(config.Address)
	if err != nil || port == "" {
		return nil, errNoAddress
	}
	return listen(ctx, networkOf(config.Address), config.Address, config)
}

func bindUnix(ctx context.Context, path string, config ListenConfig) (net.Listener, *socketFile, error) {
	if isAbstract(path) {
		ln, err := listen(ctx, "unix", path, config)
		return ln, nil, err
	}
	if !filepath.IsAbs(path) {
		return nil, nil, errRelative
	}
	if len(path) > maxUnixPath {
		return nil, nil, fmt.Errorf("the path of a unix socket has at most %d bytes, and this has %d", maxUnixPath, len(path))
	}
	release, err := ReserveUnixPath(ctx, path)
	if err != nil {
		return nil, nil, err
	}
	defer release()
	ln, err := listen(ctx, "unix", path, config)
	if err != nil {
		return nil, nil, err
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false) // openSocket does that
	file, err := fileAt(path)
	if err == nil {
		err = setPermissions(path, config)
	}
	if err != nil {
		return nil, nil, errors.Join(err, ln.Close(), file.remove(path))
	}
	return ln, &socketFile{fileID: file}, nil
}

// setPermissions gives the file of a unix socket its mode and group.
func setPermissions(path string, config ListenConfig) error {
	if config.Group != "" {
		number, err := groupNumber(config.Group)
		if err != nil {
			return err
		}
		if err := lchgrp(path, number); err != nil {
			return &groupError{path, config.Group, err}
		}
	}
	return os.Chmod(path, cmp.Or(config.Mode, defaultMode))
}

// A groupError is the error if the group of a socket's file could not be set.
type groupError struct {
	path, group string
	err         error
}

func (e *groupError) Error() string {
	return fmt.Sprintf("give %s to group %s: %v: set SupplementaryGroups=%s, PrivateUsers=no and SystemCallFilter=@chown in the unit, "+
		"or use a .socket unit with SocketGroup=%s", e.path, e.group, e.err, e.group, e.group)
}

func (e *groupError) Unwrap() error { return e.err }

func groupNumber(group string) (int, error) {
	if number, err := strconv.Atoi(group); err == nil && number >= 0 {
		return number, nil
	}
	found, err := user.LookupGroup(group)
	if err != nil {
		return 0, fmt.Errorf("there is no group %q: create it, or set Group= of the unit or SupplementaryGroups= to one that exists", group)
	}
	return strconv.Atoi(found.Gid)
}
