package service

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"time"
)

// shakeHands makes the TLS handshake on c. If the client does not speak TLS, the error says what it
// sent instead.
func shakeHands(c net.Conn, settings *tls.Config) (net.Conn, error) {
	below := &ciphertext{Conn: c}
	encrypted := tls.Server(below, settings)
	err := encrypted.Handshake() //nolint:noctx // the deadline bounds it, and cut interrupts it
	switch {
	case err == nil:
		return encrypted, nil
	case strings.HasPrefix(below.first, "\x15\x03"):
		return nil, fmt.Errorf("TLS handshake: the client began with a TLS alert instead of a handshake: it, or a proxy in front of it, gave up a connection: %w", err)
	case below.isPlain():
		return nil, fmt.Errorf("TLS handshake: the client does not speak TLS, it began with %q: %w", below.first, err)
	case rejectsCertificate(err):
		return nil, fmt.Errorf("TLS handshake: the client does not accept our certificate: %w", err)
	case below.first == "" && errors.Is(err, os.ErrDeadlineExceeded):
		return nil, fmt.Errorf("TLS handshake: the client sent nothing, and may wait for plain text: %w", err)
	}
	return nil, fmt.Errorf("TLS handshake: %w", err)
}

// blame returns whether the client or our certificate caused err, the error of a TLS handshake.
func blame(err error) Reason {
	if rejectsCertificate(err) {
		return ReasonTLSOurs
	}
	return ReasonTLSClient
}

// certificateAlerts are the alerts of a client that does not accept a certificate (RFC 8446, section
// 6.2): bad, unsupported, revoked, expired, unknown, of an unknown CA, access denied, a
// signature that does not verify, a key that is too weak, and a bad OCSP response.
var certificateAlerts = [...]tls.AlertError{42, 43, 44, 45, 46, 48, 49, 51, 71, 113}

// rejectsCertificate reports whether err is an alert from the client about our certificate.
func rejectsCertificate(err error) bool {
	alert, ok := errors.AsType[*net.OpError](err)
	return ok && alert.Op == "remote error" && slices.ContainsFunc(certificateAlerts[:], func(known tls.AlertError) bool {
		return alert.Err.Error() == known.Error() // crypto/tls exports no other form of it
	})
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
	first string // the first bytes that were read, at most 16
}

// The first two bytes of a client that speaks TLS: a handshake record, of a version
// from SSL 3 on (RFC 8446, section 5.1).
const (
	handshakeRecord = 22
	majorVersion    = 3
)

func beginsTLS(text []byte) bool {
	return len(text) > 1 && text[0] == handshakeRecord && text[1] == majorVersion
}

func (c *ciphertext) isPlain() bool { return c.first != "" && c.first[0] != handshakeRecord }

func (c *ciphertext) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.first == "" {
		c.first = string(b[:min(n, 16)])
	}
	return n, err
}

// SetWriteDeadline does nothing: crypto/tls would set its own deadline of five seconds for
// close_notify, in place of the visit's deadline, or of the one that cut has set.
func (c *ciphertext) SetWriteDeadline(time.Time) error { return nil }
