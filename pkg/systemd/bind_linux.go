package systemd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	lockTimeout = 5 * time.Second
	lockPause   = 10 * time.Millisecond
)

// listen is plain TCP, as socket units pass it, not Go's MPTCP.
func listen(ctx context.Context, network, address string, config ListenConfig) (net.Listener, error) {
	lc := net.ListenConfig{}
	lc.SetMultipathTCP(false)
	if config.ReusePort {
		lc.Control = func(_, _ string, c syscall.RawConn) error {
			var failed error
			err := c.Control(func(fd uintptr) {
				failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
			})
			return errors.Join(err, failed)
		}
	}
	address, err := numbered(address)
	if err != nil {
		return nil, err
	}
	ln, err := lc.Listen(ctx, network, address)
	if err != nil {
		return nil, err
	}
	if err := setBacklog(ln, config.Backlog); err != nil {
		_ = ln.Close()
		return nil, err
	}
	return ln, nil
}

// setBacklog sets the length of the backlog. Go would read it from /proc/sys, which ProcSubset=pid
// hides; then Go uses 128. The kernel reduces a larger value to somaxconn.
func setBacklog(ln net.Listener, backlog int) error {
	if backlog <= 0 || backlog > math.MaxInt32 {
		backlog = math.MaxInt32
	}
	return control(ln, func(fd int) error { return unix.Listen(fd, backlog) })
}

// deferAccept sets or clears TCP_DEFER_ACCEPT. It ignores errors: clients are served without the
// option, too.
func (s openSocket) deferAccept(wanted bool) {
	if _, isTCP := s.Addr().(*net.TCPAddr); !isTCP {
		return
	}
	seconds := 0
	if wanted {
		seconds = 1
	}
	_ = control(s.Listener, func(fd int) error {
		return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, seconds)
	})
}

// reconfigure gives a kept socket the settings that bindSocket would give it for config. undo
// restores the permissions of its file, and is never nil.
func (s openSocket) reconfigure(config ListenConfig) (undo func(), err error) {
	undo = func() {}
	if err := setBacklog(s.Listener, config.Backlog); err != nil {
		return undo, fmt.Errorf("listen on %s: %w", config.Address, err)
	}
	path, isUnix := unixPath(s.Listener)
	if !isUnix || s.file == nil || !s.file.isAt(path) {
		return undo, nil
	}
	var before unix.Stat_t
	if err := unix.Lstat(path, &before); err == nil {
		undo = func() {
			_ = lchgrp(path, int(before.Gid))
			_ = os.Chmod(path, fs.FileMode(before.Mode&0o777))
		}
	}
	if err := setPermissions(path, config); err != nil {
		return undo, fmt.Errorf("listen on %s: %w", config.Address, explain(err, config.Address))
	}
	return undo, nil
}

// ReserveUnixPath prepares path for a new unix socket: if path is a socket on which no process
// listens any more, it removes the file. Until release is called, other processes that call
// ReserveUnixPath, or bind with this package, cannot use the path. For this it locks a file with
// mode 0600 in the same directory, with the same name and ".lock". Call release when the new socket
// listens. If two processes find the same stale file, the second one waits, for at most 5 seconds
// and within ctx, and then finds the socket of the first one.
//
// The error wraps a syscall.Errno: EADDRINUSE if a process listens on the socket, EEXIST if path is
// something other than a socket, and otherwise the error of the kernel. If another process keeps
// the lock for too long, the error wraps no Errno.
func ReserveUnixPath(ctx context.Context, path string) (release func(), err error) {
	unlock, err := lock(ctx, path+".lock")
	if err != nil {
		return nil, err
	}
	if err := removeStale(path); err != nil {
		unlock()
		return nil, err
	}
	return unlock, nil
}

// lock prevents other processes from binding the same unix socket between the check of an old file
// and its replacement. It locks a separate file: a lock on the directory would block other programs
// that lock the directory. unlock removes the file.
func lock(ctx context.Context, path string) (unlock func(), err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, lockTimeout, fmt.Errorf("waited for %s", lockTimeout))
	defer cancel()
	retry := time.NewTicker(lockPause)
	defer retry.Stop()
	for {
		fd, err := unix.Open(path, unix.O_RDWR|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0o600)
		if err != nil {
			return nil, &fs.PathError{Op: "open", Path: path, Err: err}
		}
		err = unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
		if err == nil && isFile(fd, path) {
			return func() {
				_ = os.Remove(path) // before others can have the lock
				_ = unix.Close(fd)
			}, nil
		}
		_ = unix.Close(fd)
		if err != nil && !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return nil, &fs.PathError{Op: "lock", Path: path, Err: err}
		}
		select {
		case <-retry.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("another process holds the lock %s: %w", path, context.Cause(ctx))
		}
	}
}

// isFile reports whether fd is the file at path, and not one that was removed from there.
func isFile(fd int, path string) bool {
	var stat unix.Stat_t
	if unix.Fstat(fd, &stat) != nil {
		return false
	}
	return fileID{device: uint64(stat.Dev), inode: stat.Ino}.isAt(path) //nolint:unconvert // 32 bits on MIPS
}

// removeStale removes the file of a unix socket on which no process listens. Anything else that
// exists at path stays, and is an error.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%w and is not a socket: move it away, or choose another path", unix.EEXIST)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	err = unix.Connect(fd, &unix.SockaddrUnix{Name: path})
	switch {
	case errors.Is(err, unix.ECONNREFUSED):
		return os.Remove(path)
	case errors.Is(err, unix.ENOENT):
		return nil
	case err == nil, errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EPROTOTYPE):
		return unix.EADDRINUSE
	}
	return fmt.Errorf("see whether anybody listens there: %w", err)
}
