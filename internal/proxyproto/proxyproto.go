// Package proxyproto learns from a trusted proxy who its client is. It adapts
// github.com/pires/go-proxyproto, which reads the PROXY protocol, version 1 and 2
// (https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt, "the specification").
package proxyproto

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/pires/go-proxyproto"

	"greetd.example/pkg/service"
)

// What a trusted proxy can do wrong.
var (
	ErrMissing   error = &failure{"trusted proxy sent no PROXY header", service.ReasonNoProxyHeader}
	ErrMalformed error = &failure{"trusted proxy sent a malformed PROXY header", service.ReasonBadProxyHeader}
)

// A failure is an error with the Reason of its visits.
type failure struct {
	text   string
	reason service.Reason
}

func (f *failure) Error() string          { return f.text }
func (f *failure) Reason() service.Reason { return f.reason }

// Unwrap makes the Unwrap of a service.Listener. Peers whose address is in trusted
// must begin with a PROXY header; what they announce becomes the addresses of the
// connection that is returned. Where they announce nobody (LOCAL, UNKNOWN, UNSPEC),
// the addresses stay. The connection of any other peer is returned as it is, unread.
// IPv4 in trusted is in IPv4 form; the zero Prefix stands for all peers on a unix socket.
// Where nobody is trusted, Unwrap returns nil.
//
// An error wraps ErrMissing or ErrMalformed, or the error with which reading ended. It
// leaves the connection open. Reading takes at most 4,112 bytes for a header; its time
// is bounded by the deadline that the caller has set.
//
// What came after the header is read from the connection that is returned first. That
// one has a CloseWrite, and a NetConn for the one below.
func Unwrap(trusted []netip.Prefix) func(net.Conn) (net.Conn, error) {
	if len(trusted) == 0 {
		return nil
	}
	trusted = slices.Clone(trusted)
	return func(c net.Conn) (net.Conn, error) {
		if !contains(trusted, c.RemoteAddr()) {
			return c, nil
		}
		return unwrap(c)
	}
}

func contains(trusted []netip.Prefix, addr net.Addr) bool {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return slices.Contains(trusted, netip.Prefix{})
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	return slices.ContainsFunc(trusted, func(p netip.Prefix) bool { return p.Contains(ip) })
}

func unwrap(c net.Conn) (net.Conn, error) {
	stream := &stream{Conn: c}
	r := bufio.NewReaderSize(stream, 256) // most headers, and always those of version 1
	header, err := read(r)
	switch {
	case err != nil && stream.err != nil:
		return nil, fmt.Errorf("read PROXY header: %w", stream.err)
	case err != nil:
		return nil, err
	}

	u := &conn{Conn: c}
	if r.Buffered() > 0 {
		u.early = r
	}
	if header.Command.IsProxy() {
		u.remote, u.local = overTCP(header.SourceAddr), overTCP(header.DestinationAddr)
	} else {
		u.remote, u.local = c.RemoteAddr(), c.LocalAddr()
	}
	return u, nil
}

// A stream remembers why reading ended, since the library does not always tell.
type stream struct {
	net.Conn
	err error
}

func (s *stream) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	s.err = err
	return n, err
}

// read reads a header and not a byte more from r.
func read(r *bufio.Reader) (*proxyproto.Header, error) {
	if err := await(r); err != nil {
		return nil, err
	}
	if skipped, err := skipUnspecified(r); skipped || err != nil {
		return &proxyproto.Header{Command: proxyproto.LOCAL}, err
	}
	header, err := proxyproto.Read(r)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return header, nil
}

const (
	longestV1 = 107 // bytes, with CR and LF (the specification, section 2.1)
	prefixV2  = 16  // bytes ahead of what the length in them counts (section 2.2)
)

// await fills r with a whole header of version 1, which the library wants to have at
// once, or with the beginning of one of version 2.
func await(r *bufio.Reader) error {
	for n := 1; ; n = r.Buffered() + 1 {
		if _, err := r.Peek(n); err != nil {
			return err
		}
		got, _ := r.Peek(r.Buffered())
		switch {
		case begins(got, proxyproto.SIGV2):
			if len(got) >= prefixV2 {
				return nil
			}
		case !begins(got, proxyproto.SIGV1):
			return ErrMissing
		case bytes.IndexByte(got, '\n') >= 0 || len(got) >= longestV1:
			return nil
		}
	}
}

// begins tells whether got can be the beginning of something with the signature.
func begins(got, signature []byte) bool {
	n := min(len(got), len(signature))
	return bytes.Equal(got[:n], signature[:n])
}

// skipUnspecified skips a header of version 2 that forwards for an unknown family. The
// specification leaves it to us whether to serve such a client by the real addresses;
// the library does not.
func skipUnspecified(r *bufio.Reader) (bool, error) {
	got, _ := r.Peek(min(r.Buffered(), prefixV2)) // one of version 1 may be shorter
	if !bytes.HasPrefix(got, append(proxyproto.SIGV2[:12:12], byte(proxyproto.PROXY), byte(proxyproto.UNSPEC))) {
		return false, nil
	}
	length := binary.BigEndian.Uint16(got[14:])
	if length > proxyproto.MaxV2HeaderSize {
		return false, fmt.Errorf("%w: %w", ErrMalformed, proxyproto.ErrInvalidLength)
	}
	_, err := r.Discard(prefixV2 + int(length))
	return true, err
}

// overTCP is addr as that of a client over TCP, also if the proxy's came over UDP: so
// that it is logged and limited as any other.
func overTCP(addr net.Addr) net.Addr {
	if udp, ok := addr.(*net.UDPAddr); ok {
		return &net.TCPAddr{IP: udp.IP, Port: udp.Port, Zone: udp.Zone}
	}
	return addr
}

// A conn is the connection of a proxy's client.
type conn struct {
	net.Conn               // the proxy's
	early    *bufio.Reader // holds what came together with the header; nil once it is read
	remote   net.Addr
	local    net.Addr
}

func (c *conn) RemoteAddr() net.Addr { return c.remote }

func (c *conn) LocalAddr() net.Addr { return c.local }

// Read reads what came together with the header first.
func (c *conn) Read(b []byte) (int, error) {
	if c.early == nil {
		return c.Conn.Read(b)
	}
	n, err := c.early.Read(b)
	if c.early.Buffered() == 0 {
		c.early = nil
	}
	return n, err
}

// CloseWrite half-closes, where the proxy's connection can.
func (c *conn) CloseWrite() error {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok {
		return fmt.Errorf("half-close: %w", errors.ErrUnsupported)
	}
	return half.CloseWrite()
}

// NetConn is the proxy's connection; nil as long as something that came from it is to
// be read from c first. It must not be called during a Read.
func (c *conn) NetConn() net.Conn {
	if c.early != nil {
		return nil
	}
	return c.Conn
}
