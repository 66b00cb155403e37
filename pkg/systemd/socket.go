package systemd

import (
	"cmp"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
)

// An Origin says where a listening socket came from.
type Origin string

// The origins, as they appear in logs and in the status.
const (
	SocketUnit Origin = "socket unit" // a .socket unit bound it, and keeps it
	FDStore    Origin = "fd store"    // an earlier process of this service bound it, and systemd kept it
	OwnBind    Origin = "own bind"    // this process bound it
)

const unixPrefix = "unix:"

// A openSocket is a listening stream socket, TCP or unix, and what is known about it.
// Copies share the one listener.
type openSocket struct {
	net.Listener // nil if the fd store kept something that does not listen any more

	Origin Origin

	// Name is, for a SocketUnit, its FileDescriptorName=, or "" if it has none of
	// its own; for the FDStore, the name that it is stored under; else "".
	Name string

	// Address is, for a SocketUnit, what it is bound to: ip:port, or unix:/path.
	// Else it is what bindSocket got. It is "" for a stored socket with a hashed
	// name (longer than 255 bytes) until assign finds out.
	Address string

	ReusePort bool // it has SO_REUSEPORT

	file *socketFile // of a unix socket that this service bound; else nil
	lost bool        // stored, but its file is gone or another's: no client can reach it

	wrapped bool // by Service.Wrap
}

type socketFile struct {
	fileID
	stored atomic.Bool // systemd has the socket too
}

// Close stops listening in this process. A blocked Accept returns net.ErrClosed.
//
// A socket unit or the fd store keeps its own copy, with the clients in the backlog
// and the file of a unix socket. Where neither does, the file is removed, if it is
// still the one that bindSocket made.
func (s openSocket) Close() error {
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
// socket is removed, if it is still the one that this service made. After Close,
// Remove does nothing.
func (s openSocket) Remove() error {
	if s.Listener == nil || s.Origin == SocketUnit {
		return s.Close()
	}
	shutdown, err := shutdownLater(s.Listener)
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	err = errors.Join(err, s.unlink(), s.Listener.Close())
	shutdown() // last, so that Accept returns net.ErrClosed
	return err
}

// unlink removes the file of a unix socket if it is still the one that this service
// made. While the socket is open, no other file has its inode.
func (s openSocket) unlink() error {
	if s.file == nil {
		return nil
	}
	return control(s.Listener, func(int) error { return s.file.remove(s.Addr().String()) })
}

// isOwn reports whether this service bound the socket, now or in an earlier process.
func (s openSocket) isOwn() bool { return s.Origin != SocketUnit }

// address is where clients find the socket: ip:port with the port that the system
// chose, or unix:/path.
func (s openSocket) address() string {
	if s.Listener == nil || strings.HasPrefix(s.Address, unixPrefix) {
		return s.Address
	}
	return addressOf(s.Listener)
}

func addressOf(ln net.Listener) string {
	if path, isUnix := unixPath(ln); isUnix {
		return unixPrefix + path
	}
	return ln.Addr().String()
}

func unixPath(ln net.Listener) (path string, ok bool) {
	addr, ok := ln.Addr().(*net.UnixAddr)
	if !ok {
		return "", false
	}
	return addr.Name, true
}

// isAbstract reports whether path is the name of an abstract socket, which has no file
// (unix(7)).
func isAbstract(path string) bool { return len(path) > 1 && path[0] == '@' }

// control calls f with the descriptor of c, which stays nonblocking: File().Fd()
// would change that for every copy (golang/go#29277).
func control(c any, f func(fd int) error) error {
	conn, ok := c.(syscall.Conn)
	if !ok {
		return errors.ErrUnsupported
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = f(int(fd)) }); err != nil {
		return err
	}
	return failed
}
