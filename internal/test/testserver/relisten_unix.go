//go:build unix

package testserver

import "syscall"

// relisten changes the backlog of a listening socket.
func relisten(fd uintptr, backlog int) error { return syscall.Listen(int(fd), backlog) }
