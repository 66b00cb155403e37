package systemd

import (
	"net"
	"os"

	"golang.org/x/sys/unix"
)

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

func fileAt(path string) (fileID, error) {
	var stat unix.Stat_t
	if err := unix.Lstat(path, &stat); err != nil {
		return fileID{}, err
	}
	return fileID{device: uint64(stat.Dev), inode: stat.Ino}, nil //nolint:unconvert // 32 bits on MIPS
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
