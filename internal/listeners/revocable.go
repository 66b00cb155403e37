package listeners

import (
	"errors"
	"net"
	"sync/atomic"
	"time"

	"greetd.example/pkg/systemd"
)

// A revocableListener is a socket while it is served under one name. After revoke,
// Accept returns net.ErrClosed, and the socket stays open with its backlog for the next
// name.
type revocableListener struct {
	systemd.Socket
	revoked atomic.Bool
}

// Accept implements net.Listener.
func (l *revocableListener) Accept() (net.Conn, error) {
	if l.revoked.Load() {
		return nil, net.ErrClosed
	}
	c, err := l.Socket.Accept()
	if err != nil && l.revoked.Load() {
		return nil, net.ErrClosed
	}
	return c, err
}

// Close implements net.Listener. It closes nothing after revoke.
func (l *revocableListener) Close() error {
	if l.revoked.Load() {
		return nil
	}
	return l.Socket.Close()
}

// SetDeadline interrupts Accept.
func (l *revocableListener) SetDeadline(t time.Time) error {
	d, ok := l.Listener.(interface{ SetDeadline(time.Time) error })
	if !ok {
		return errors.ErrUnsupported
	}
	return d.SetDeadline(t)
}

// revoke ends Accept. The next owner of the socket must clear the deadline.
func (l *revocableListener) revoke() error {
	l.revoked.Store(true)
	return l.SetDeadline(time.Unix(1, 0))
}
