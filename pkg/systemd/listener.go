package systemd

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// A ListenConfig describes a listener that a daemon wants. If a socket unit passes the socket, only
// Name is used, and Address if the socket has no name; everything else comes from the unit.
type ListenConfig struct {
	// Name is the FileDescriptorName= of the socket unit that may pass the socket.
	Name string

	// Address is the address to bind if no socket unit passed a socket:
	//
	//	:10000              every address, IPv4 and IPv6
	//	0.0.0.0:10000       every IPv4 address
	//	[::]:10000          every IPv6 address, and no IPv4
	//	192.0.2.1:10000     one address; also [2001:db8::1]:10000 and [fe80::1%eth0]:10000
	//	localhost:10000     every address that the name has when it is bound
	//	unix:/run/x.sock    a unix socket
	//	unix:@name          an abstract unix socket (Linux), which has no file
	Address string

	ReusePort bool        // set SO_REUSEPORT
	Mode      fs.FileMode // of a unix socket's file; 0: 0666, which lets everybody connect
	Group     string      // of a unix socket's file, by name or number; "": unchanged
	Backlog   int         // at most net.core.somaxconn, which is also the default, 0

	// DeferAccept is for TCP on Linux, and for protocols in which the client sends first. The
	// kernel passes a client to the daemon only when it has sent data, or after a second without
	// data (TCP_DEFER_ACCEPT, see tcp(7)). A [Change] can also clear the option. For sockets of a
	// socket unit, set DeferAcceptSec= of systemd.socket(5) instead.
	DeferAccept bool
}

// A Listener is a listening socket that is served under a name. If a [Change] gives the socket
// another name, Accept of this Listener returns net.ErrClosed. The socket stays open, with the
// clients in its backlog, for the Listener with the new name. The methods may be called at once
// from many goroutines.
type Listener struct {
	service  *Service
	name     string
	ipv6Only bool

	accepting sync.RWMutex // held for reading during Accept

	released, closed atomic.Bool

	mu      sync.Mutex
	socket  openSocket
	resumed chan struct{} // not nil while suspended; closed by resume
	failed  error         // why it could not be bound again
}

var (
	_ net.Listener = (*Listener)(nil)
	_ syscall.Conn = (*Listener)(nil)
)

// Name returns the name in the ListenConfig.
func (l *Listener) Name() string { return l.name }

// Origin returns where the socket came from.
func (l *Listener) Origin() Origin { return l.current().Origin }

// Address returns the address to which clients connect: ip:port, with the port that the system
// chose, or unix:/path.
func (l *Listener) Address() string { return l.current().address() }

// IPv6Only reports whether the listener is bound to all IPv6 addresses but to no IPv4 address.
// Address does not show this: it is the same for ":10000" and "[::]:10000".
func (l *Listener) IPv6Only() bool { return l.ipv6Only }

// Lost reports whether the file of a unix socket that this service bound was deleted or replaced,
// so that clients cannot reach it any more. [Service.Prepare] then binds it again.
func (l *Listener) Lost() bool { return !l.closed.Load() && l.current().isLost() }

// String returns the listener in a form for a log or a status: web [::]:8080 (fd store), or web
// [::]:8080 (fd store, IPv6 only).
func (l *Listener) String() string {
	if l.IPv6Only() {
		return fmt.Sprintf("%s %s (%s, IPv6 only)", l.name, l.Address(), l.Origin())
	}
	return fmt.Sprintf("%s %s (%s)", l.name, l.Address(), l.Origin())
}

// Addr implements net.Listener.
func (l *Listener) Addr() net.Addr { return l.current().Addr() }

// Accept implements net.Listener. After Close, or if the socket was given to another Listener, it
// returns net.ErrClosed.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		socket, c, err := l.accept()
		if err == nil {
			return l.service.connections.Load().track(c), nil
		}
		l.awaitResumption()
		if ended := l.ended(); ended != nil {
			return nil, ended
		}
		if l.current().Listener == socket.Listener {
			return nil, err
		}
	}
}

func (l *Listener) accept() (openSocket, net.Conn, error) {
	l.accepting.RLock()
	defer l.accepting.RUnlock()
	socket := l.current()
	if err := l.ended(); err != nil {
		return socket, nil, err
	}
	c, err := socket.Accept()
	return socket, c, err
}

// ended returns the error of an Accept that cannot continue.
func (l *Listener) ended() error {
	if l.released.Load() || l.closed.Load() {
		return net.ErrClosed
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failed
}

// awaitResumption waits while the listener is suspended. After that, it may have another socket.
func (l *Listener) awaitResumption() {
	l.mu.Lock()
	resumed := l.resumed
	l.mu.Unlock()
	if resumed != nil {
		<-resumed
	}
}

func (l *Listener) current() openSocket {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.socket
}

// Close stops listening in this process. If the socket unit or the fd store has the socket, it
// stays open for the next process, with the clients that wait in its backlog.
func (l *Listener) Close() error {
	if !l.finish() {
		return nil
	}
	return l.current().Close()
}

// Remove closes the listener permanently: systemd forgets the socket too, clients in its backlog
// are reset, and the address can be bound again. If the socket belongs to a socket unit, Remove
// does the same as Close.
func (l *Listener) Remove() error {
	if !l.finish() {
		return nil
	}
	l.service.drop(l)
	return cmp.Or(l.service.Notifier.forget(l.current()), l.current().Remove())
}

// finish makes Accept return net.ErrClosed, and reports whether l still has the socket.
func (l *Listener) finish() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if before := l.closed.Swap(true); !before && l.resumed != nil {
		close(l.resumed)
	}
	return !l.released.Load()
}

// suspend makes Accept wait, instead of failing, when its socket is closed.
func (l *Listener) suspend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.resumed = make(chan struct{})
}

// resume makes Accept continue with socket, or fail with err.
func (l *Listener) resume(socket openSocket, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed.Load() {
		return
	}
	l.failed = err
	if err == nil {
		l.socket = socket
	}
	close(l.resumed)
	l.resumed = nil
}

// SetDeadline sets the deadline of Accept.
func (l *Listener) SetDeadline(t time.Time) error {
	d, ok := l.current().Listener.(interface{ SetDeadline(time.Time) error })
	if !ok {
		return errors.ErrUnsupported
	}
	return d.SetDeadline(t)
}

// SyscallConn implements syscall.Conn. The descriptor must stay nonblocking.
func (l *Listener) SyscallConn() (syscall.RawConn, error) {
	conn, ok := l.current().Listener.(syscall.Conn)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	return conn.SyscallConn()
}

// release ends every Accept, and returns when none is running any more. Then another Listener can use
// the socket.
func (l *Listener) release() error {
	l.released.Store(true)
	if err := l.SetDeadline(time.Unix(1, 0)); err != nil {
		l.released.Store(false)
		return err
	}
	l.accepting.Lock()
	defer l.accepting.Unlock()
	return l.SetDeadline(time.Time{})
}

func (s *Service) drop(l *Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open = slices.DeleteFunc(s.open, func(other *Listener) bool { return other == l })
}
