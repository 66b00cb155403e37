// Package systemd is greetd's side of its service manager: the sockets that come
// from there or are kept there, the notifications, and the watchdog.
//
// Everything in it is a no-op, or says so, where systemd is not.
package systemd

import (
	"cmp"
	"errors"
	"net"
	"os"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// An Origin says where a listening socket came from.
type Origin string

// The origins, in the words that people are told.
const (
	SocketUnit Origin = "socket unit" // a .socket unit bound it, and keeps it
	FDStore    Origin = "fd store"    // an earlier greetd bound it, and systemd kept it
	OwnBind    Origin = "own bind"    // Bind bound it
)

// A Socket is a listening stream socket, TCP or unix, and what is known about it.
// Copies share the one listener.
type Socket struct {
	net.Listener // nil if the fd store kept something that does not listen any more

	Origin Origin

	// Name is, for a SocketUnit, its FileDescriptorName=, or "" if it has none of
	// its own; for the FDStore, the name that it is stored under; else "".
	Name string

	// Address is, for a SocketUnit, what it is bound to: ip:port, or unix:/path.
	// Else it is what Bind was told. It is "" for a stored socket with a hashed
	// name (longer than 255 bytes) until Assign finds out.
	Address string

	ReusePort bool // it has SO_REUSEPORT

	file *socketFile // of a unix socket that greetd bound; else nil
	lost bool        // stored, but its file is gone or another's: no client can reach it
}

type socketFile struct {
	fileID
	stored atomic.Bool // systemd has the socket too
}

// Close stops listening in this process. Who waits in Accept gets net.ErrClosed.
//
// A socket unit or the fd store keeps its own copy, with the clients in the backlog
// and the file of a unix socket. Where neither does, the file is removed, if it is
// still the one that Bind made.
func (s Socket) Close() error {
	if s.Listener == nil {
		return nil
	}
	var err error
	if s.file != nil && !s.file.stored.Load() {
		err = s.unlink()
	}
	return cmp.Or(s.Listener.Close(), err)
}

// Remove ends the socket for good, unless it belongs to a socket unit: then it is
// Close. No copy listens any more, not even the one in the fd store, so the address
// can be bound again at once; clients in the backlog are reset. The file of a unix
// socket is removed, if it is still the one that greetd made. After Close, Remove
// does nothing.
func (s Socket) Remove() error {
	if s.Listener == nil || s.Origin == SocketUnit {
		return s.Close()
	}
	dup := -1
	err := control(s.Listener, func(fd int) (err error) {
		dup, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		return err
	})
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	err = errors.Join(err, s.unlink(), s.Listener.Close())
	if dup >= 0 { // shut down last, so that Accept tells of Close
		_ = unix.Shutdown(dup, unix.SHUT_RDWR)
		_ = unix.Close(dup)
	}
	return err
}

// unlink removes the file of a unix socket if it is still the one that greetd made.
// While the socket is open, no other file has its inode.
func (s Socket) unlink() error {
	if s.file == nil {
		return nil
	}
	return control(s.Listener, func(int) error {
		path := s.Addr().String()
		if !s.file.isAt(path) {
			return nil
		}
		return os.Remove(path)
	})
}

// A fileID tells a file from every other that exists at the same time.
type fileID struct{ device, inode uint64 }

func fileAt(path string) (fileID, error) {
	var stat unix.Stat_t
	if err := unix.Lstat(path, &stat); err != nil {
		return fileID{}, err
	}
	return fileID{device: stat.Dev, inode: stat.Ino}, nil
}

func (f fileID) isAt(path string) bool {
	now, err := fileAt(path)
	return err == nil && now == f
}

func unixPath(ln net.Listener) (path string, ok bool) {
	addr, ok := ln.Addr().(*net.UnixAddr)
	if !ok {
		return "", false
	}
	return addr.Name, true
}

// control calls f with the descriptor of ln, which stays nonblocking: File().Fd()
// would change that for every copy (golang/go#29277).
func control(ln net.Listener, f func(fd int) error) error {
	conn, err := ln.(syscall.Conn).SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := conn.Control(func(fd uintptr) { failed = f(int(fd)) }); err != nil {
		return err
	}
	return failed
}
