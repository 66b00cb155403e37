package systemd

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"sync"
	"syscall"
	"time"
)

// A ListenConfig is a listener that a daemon wants. Where a socket unit passes the socket,
// only Name counts, and Address if the socket has no name: the unit says the rest.
type ListenConfig struct {
	// Name is FileDescriptorName= of the socket unit that may pass the socket.
	Name string

	// Address is what to bind where no socket unit passed any:
	//
	//	:10000              every address, IPv4 and IPv6
	//	0.0.0.0:10000       every IPv4 address
	//	[::]:10000          every IPv6 address, and no IPv4
	//	192.0.2.1:10000     this one; so [2001:db8::1]:10000, [fe80::1%eth0]:10000
	//	localhost:10000     the first address of the name, IPv4 before IPv6
	//	unix:/run/x.sock    a unix socket
	//	unix:@name          an abstract one (Linux), which has no file
	Address string

	ReusePort bool        // set SO_REUSEPORT
	Mode      fs.FileMode // of a unix socket's file; 0: 0666, which lets everybody connect
	Group     string      // of a unix socket's file, by name or number; "": as it comes
	Backlog   int         // 0: as long as net.core.somaxconn allows, which cuts a longer one

	// DeferAccept is for TCP on Linux, and protocols in which the client speaks first: the
	// kernel keeps a client back until it has sent something, or has sent nothing for a
	// second (TCP_DEFER_ACCEPT of tcp(7)). A [Change] also takes the option back. Sockets
	// of a socket unit have DeferAcceptSec= of systemd.socket(5) instead.
	DeferAccept bool
}

// A Listener is a listening socket that is served under a name. When a [Change] gives the
// socket another name, whoever accepts on it gets net.ErrClosed, while the socket stays
// open, with the clients in its backlog, for the next Listener. Its methods may be called
// at once from many goroutines.
type Listener struct {
	service  *Service
	name     string
	ipv6Only bool

	accepting sync.RWMutex // held for reading during Accept

	mu       sync.Mutex
	socket   openSocket
	released bool
	closed   bool
	resumed  chan struct{} // while suspended; closed when that is over
	failed   error         // why it could not be bound again
}

var (
	_ net.Listener = (*Listener)(nil)
	_ syscall.Conn = (*Listener)(nil)
)

// Name is the name in the ListenConfig.
func (l *Listener) Name() string { return l.name }

// Origin says where the socket came from.
func (l *Listener) Origin() Origin { return l.current().Origin }

// Address is where clients find it: ip:port with the port that the system chose, or
// unix:/path.
func (l *Listener) Address() string { return l.current().address() }

// IPv6Only reports whether the listener has all IPv6 addresses, and no IPv4: ":10000" and
// "[::]:10000" have the same Address.
func (l *Listener) IPv6Only() bool { return l.ipv6Only }

// Lost reports whether the file of a unix socket that this service bound was deleted or
// replaced, so that clients can't reach it any more. [Service.Prepare] binds it again.
func (l *Listener) Lost() bool { return !l.isClosed() && l.current().isLost() }

// String is for a log or a status: web [::]:8080 (fd store), or web [::]:8080 (fd store, IPv6 only).
func (l *Listener) String() string {
	if l.IPv6Only() {
		return fmt.Sprintf("%s %s (%s, IPv6 only)", l.name, l.Address(), l.Origin())
	}
	return fmt.Sprintf("%s %s (%s)", l.name, l.Address(), l.Origin())
}

// Addr implements net.Listener.
func (l *Listener) Addr() net.Addr { return l.current().Addr() }

// Accept implements net.Listener. After Close, or when the socket was released for another
// Listener, the error is net.ErrClosed.
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

// ended is why nobody can accept any more.
func (l *Listener) ended() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.released || l.closed {
		return net.ErrClosed
	}
	return l.failed
}

// awaitResumption waits while the listener is suspended. It may have another socket then.
func (l *Listener) awaitResumption() {
	l.mu.Lock()
	resumed := l.resumed
	l.mu.Unlock()
	if resumed != nil {
		<-resumed
	}
}

// current is the socket.
func (l *Listener) current() openSocket {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.socket
}

// Close stops listening in this process. The socket unit or the fd store keeps the
// socket open, with the clients that wait in its backlog, for the next process.
func (l *Listener) Close() error {
	if !l.finish() {
		return nil
	}
	return l.current().Close()
}

// Remove ends the listener for good: systemd forgets the socket too, clients in its backlog
// are reset, and the address can be bound again. Where the socket belongs to a socket unit,
// Remove is Close.
func (l *Listener) Remove() error {
	if !l.finish() {
		return nil
	}
	l.service.drop(l)
	return cmp.Or(l.service.Notifier.forget(l.current()), l.current().Remove())
}

// finish makes Accept return net.ErrClosed, and reports whether the socket is l's.
func (l *Listener) finish() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.resumed != nil && !l.closed {
		close(l.resumed)
	}
	l.closed = true
	return !l.released
}

func (l *Listener) isClosed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed
}

// suspend lets Accept wait from now on, when its socket has ended.
func (l *Listener) suspend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.resumed = make(chan struct{})
}

// resume lets Accept go on with socket, or fail with err.
func (l *Listener) resume(socket openSocket, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.failed = err
	if err == nil {
		l.socket = socket
	}
	close(l.resumed)
	l.resumed = nil
}

// SetDeadline bounds Accept, for the socket.
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

// release ends every Accept, and returns when none runs any more: the socket is free for
// another Listener.
func (l *Listener) release() error {
	l.setReleased(true)
	if err := l.SetDeadline(time.Unix(1, 0)); err != nil {
		l.setReleased(false)
		return err
	}
	l.accepting.Lock()
	defer l.accepting.Unlock()
	return l.SetDeadline(time.Time{})
}

func (l *Listener) setReleased(released bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.released = released
}
