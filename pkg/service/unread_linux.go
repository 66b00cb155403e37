package service

import (
	"net"
	"syscall"
)

// hasUnread reports whether the client has sent data that was not read yet. Then the client waits for
// the server, and not the server for the client.
func hasUnread(c net.Conn) bool {
	var n int
	peek := func(fd int) {
		var one [1]byte
		n, _, _ = syscall.Recvfrom(fd, one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	}
	switch c := c.(type) {
	case interface{ Control(f func(fd int)) error }:
		_ = c.Control(peek)
	case syscall.Conn:
		if raw, err := c.SyscallConn(); err == nil {
			_ = raw.Control(func(fd uintptr) { peek(int(fd)) })
		}
	}
	return n > 0
}
