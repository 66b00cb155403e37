package systemd

import (
	"cmp"
	"errors"
	"net"
	"os"
	"runtime"
	"slices"
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

// An openSocket is a listening stream socket, TCP or unix, with its properties. Copies share the same
// listener.
type openSocket struct {
	net.Listener // nil if the socket is from the fd store and does not listen any more

	Origin Origin

	// Name is the FileDescriptorName= of a SocketUnit, or "" if the unit does not set it. For the
	// FDStore it is the name under which the socket is stored; else "".
	Name string

	// Address is, for a SocketUnit, the address that it is bound to: ip:port, or unix:/path. For
	// other sockets it is the address that was passed to bindSocket. It is "" for a stored socket
	// with a hashed name (longer than 255 bytes), until assign has found it out.
	Address string

	ReusePort bool // the socket has SO_REUSEPORT

	file *socketFile // of a unix socket that this service bound; else nil

	wrapped bool // Service.Wrap was applied
}

type socketFile struct {
	fileID
	stored atomic.Bool // systemd has the socket too
}

// A fileID identifies a file among all that exist at the same time.
type fileID struct{ device, inode uint64 }

func (f fileID) isAt(path string) bool {
	now, err := fileAt(path)
	return err == nil && now == f
}

func (f fileID) remove(path string) error {
	if !f.isAt(path) {
		return nil
	}
	return os.Remove(path)
}

// Close stops listening in this process. A blocked Accept returns net.ErrClosed.
//
// If a socket unit or the fd store has a copy, it keeps the clients in the backlog and the file of a
// unix socket. If neither has a copy, the file is removed, if it is still the one that bindSocket
// created.
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

// Remove closes the socket permanently. If it belongs to a socket unit, Remove does the same as Close.
// After Remove no copy listens any more, not even the one in the fd store. So the address can be bound
// again at once, and clients in the backlog are reset. The file of a unix socket is removed, if it is
// still the one that this service created. After Close, Remove does nothing.
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

// isLost reports whether no client can reach a unix socket that this service bound, because its file
// was deleted or replaced.
func (s openSocket) isLost() bool {
	if s.file == nil || s.Listener == nil {
		return false
	}
	path, isUnix := unixPath(s.Listener)
	return isUnix && !s.file.isAt(path)
}

// isOwn reports whether this service bound the socket, now or in an earlier process.
func (s openSocket) isOwn() bool { return s.Origin != SocketUnit }

// address returns the address to which clients connect: ip:port, with the port that the system chose,
// or unix:/path.
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
func isAbstract(path string) bool { return runtime.GOOS == "linux" && len(path) > 1 && path[0] == '@' }

// control calls f with the descriptor of c, which stays nonblocking. File().Fd() would make every copy
// of it blocking (golang/go#29277).
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

func without(sockets []openSocket, socket openSocket) []openSocket {
	return slices.DeleteFunc(sockets, func(other openSocket) bool {
		return other.Listener == socket.Listener && other.Name == socket.Name
	})
}
