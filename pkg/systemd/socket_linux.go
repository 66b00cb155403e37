package systemd

import (
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// isLost reports whether no client can reach a unix socket that this service bound, because its file
// was deleted or replaced.
func (s openSocket) isLost() bool {
	if s.lost || s.file == nil || s.Listener == nil {
		return s.lost
	}
	path, isUnix := unixPath(s.Listener)
	return isUnix && !s.file.isAt(path)
}

// shutdownLater returns a function that ends every copy of the socket of ln, even after ln was closed.
func shutdownLater(ln net.Listener) (shutdown func(), err error) {
	dup := -1
	err = control(ln, func(fd int) (err error) {
		dup, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		return err
	})
	return func() {
		if dup >= 0 {
			_ = unix.Shutdown(dup, unix.SHUT_RDWR)
			_ = unix.Close(dup)
		}
	}, err
}

// A fileID identifies a file among all that exist at the same time.
type fileID struct{ device, inode uint64 }

func fileAt(path string) (fileID, error) {
	var stat unix.Stat_t
	if err := unix.Lstat(path, &stat); err != nil {
		return fileID{}, err
	}
	return fileID{device: uint64(stat.Dev), inode: stat.Ino}, nil //nolint:unconvert // 32 bits on MIPS
}

func (f fileID) isAt(path string) bool {
	now, err := fileAt(path)
	return err == nil && now == f
}

// remove removes the file at path if it is f.
func (f fileID) remove(path string) error {
	if !f.isAt(path) {
		return nil
	}
	return os.Remove(path)
}

// clientWaits reports whether Accept would return at once.
func clientWaits(ln net.Listener) bool {
	waits := false
	_ = control(ln, func(fd int) error {
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(poll, 0)
		waits = err == nil && n > 0
		return err
	})
	return waits
}

// lchgrp sets the group of the file at path. It does nothing if the file already has this group, since
// the system call may be forbidden.
func lchgrp(path string, group int) error {
	var stat unix.Stat_t
	if err := unix.Lstat(path, &stat); err == nil && int(stat.Gid) == group {
		return nil
	}
	return os.Lchown(path, -1, group)
}

// isIPv6Only reports whether s is bound to all IPv6 addresses with IPV6_V6ONLY (ipv6(7)).
func (s openSocket) isIPv6Only() (only bool) {
	address, ok := s.Addr().(*net.TCPAddr)
	if !ok || !address.IP.IsUnspecified() || address.IP.To4() != nil {
		return false
	}
	_ = control(s.Listener, func(fd int) error {
		value, err := unix.GetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY)
		only = err == nil && value == 1
		return err
	})
	return only
}
