package service

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"time"
)

// shakeHands makes c speak TLS. The error says what a client does that speaks none.
func shakeHands(c net.Conn, settings *tls.Config) (net.Conn, error) {
	below := &ciphertext{Conn: c}
	encrypted := tls.Server(below, settings)
	err := encrypted.Handshake() //nolint:noctx // the deadline bounds it, and cut interrupts it
	switch {
	case err == nil:
		return encrypted, nil
	case below.isPlain():
		return nil, fmt.Errorf("TLS handshake: the client speaks no TLS, it began with %q: %w", below.first, err)
	case below.first == "" && errors.Is(err, os.ErrDeadlineExceeded):
		return nil, fmt.Errorf("TLS handshake: not a byte from the client, which may wait for plain text: %w", err)
	}
	return nil, fmt.Errorf("TLS handshake: %w", err)
}

// sendCloseNotify ends what is sent on c, if it speaks TLS (close_notify, RFC 8446, section 6.1).
func sendCloseNotify(c net.Conn) {
	if encrypted, ok := c.(*tls.Conn); ok {
		_ = encrypted.CloseWrite()
	}
}

// ciphertext is the connection below TLS.
type ciphertext struct {
	net.Conn
	first string // some of what came first
}

// The first two bytes of a client that speaks TLS: a handshake record, of a version
// from SSL 3 on (RFC 8446, section 5.1).
const (
	handshakeRecord = 22
	majorVersion    = 3
)

// beginsTLS reports whether text is the beginning of a TLS handshake.
func beginsTLS(text []byte) bool {
	return len(text) > 1 && text[0] == handshakeRecord && text[1] == majorVersion
}

func (c *ciphertext) isPlain() bool { return c.first != "" && c.first[0] != handshakeRecord }

// Read implements net.Conn.
func (c *ciphertext) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.first == "" {
		c.first = string(b[:min(n, 16)])
	}
	return n, err
}

// SetWriteDeadline does nothing: crypto/tls would give close_notify five seconds of its
// own, past the visit's deadline, and past the end that cut has set.
func (c *ciphertext) SetWriteDeadline(time.Time) error { return nil }
