// Package proxyproto reads the address of the client from a trusted proxy. It adapts
// github.com/pires/go-proxyproto, which reads the PROXY protocol, version 1 and 2
// (https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt, "the specification").
package proxyproto

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"

	"github.com/pires/go-proxyproto"

	"greetd.example/pkg/service"
)

// The errors of a trusted proxy.
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

// Unwrap returns a function for the field Unwrap of a service.Listener. Peers whose address is in trusted must send a
// PROXY header first. The returned connection has the addresses of this header. If the header has no addresses (LOCAL,
// UNKNOWN, UNSPEC), it keeps those of the peer. The connection of any other peer is returned unchanged, and nothing is
// read from it. IPv4 prefixes in trusted must not be in IPv6 form. The zero Prefix stands for all peers of a unix
// socket. If trusted is empty, Unwrap returns nil.
//
// If a header of version 2 has a CRC32C, it must be right.
//
// An error wraps ErrMissing, ErrMalformed or the error of the last read. It leaves the connection open. A header has at
// most 4,112 bytes. The time for reading it is limited by the deadline that the caller has set.
//
// The returned connection first returns the bytes that were read after the header. It has the methods CloseWrite, and
// NetConn for the connection below.
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
	r := bufio.NewReaderSize(stream, 256) // enough for most headers, and for all of version 1
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
		u.info = infoIn(header)
	} else {
		u.remote, u.local = c.RemoteAddr(), c.LocalAddr()
	}
	return u, nil
}

// A stream keeps the error of the last read, since the library does not always return it.
type stream struct {
	net.Conn
	err error
}

func (s *stream) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	s.err = err
	return n, err
}

// read reads a header from r, and no byte after it.
func read(r *bufio.Reader) (*proxyproto.Header, error) {
	if err := await(r); err != nil {
		return nil, err
	}
	if got, _ := r.Peek(1); got[0] == proxyproto.SIGV2[0] {
		return readV2(r)
	}
	return parse(r)
}

// readV2 reads a header of version 2. It keeps the bytes of the header only if TLVs follow the addresses, since one of
// the TLVs can be a checksum.
func readV2(r *bufio.Reader) (*proxyproto.Header, error) {
	prefix, _ := r.Peek(prefixV2)
	length := int(binary.BigEndian.Uint16(prefix[14:]))
	addresses := addressLength(prefix[13])
	if length > int(proxyproto.MaxV2HeaderSize) {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, proxyproto.ErrInvalidLength)
	}
	if length <= addresses {
		return parseV2(r, prefix, length)
	}
	raw := bytes.NewBuffer(make([]byte, 0, prefixV2+length))
	header, err := parseV2(bufio.NewReaderSize(io.TeeReader(io.LimitReader(r, int64(prefixV2+length)), raw), prefixV2), prefix, length)
	if err != nil {
		return nil, err
	}
	return header, verifyChecksum(raw.Bytes(), prefixV2+addresses)
}

// parseV2 reads from r the header of version 2 that begins with prefix. For a client of an unknown family, the
// specification allows to use the addresses of the connection, and parseV2 does so. The library would return an error.
func parseV2(r *bufio.Reader, prefix []byte, length int) (*proxyproto.Header, error) {
	if prefix[12] == byte(proxyproto.PROXY) && prefix[13] == byte(proxyproto.UNSPEC) {
		_, err := r.Discard(prefixV2 + length)
		return &proxyproto.Header{Command: proxyproto.LOCAL}, err
	}
	return parse(r)
}

func parse(r *bufio.Reader) (*proxyproto.Header, error) {
	header, err := proxyproto.Read(r)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return header, nil
}

// addressLength returns the number of bytes of the addresses of a family (the specification, section 2.2).
func addressLength(family byte) int {
	switch family >> 4 {
	case 1:
		return 12
	case 2:
		return 36
	case 3:
		return 216
	}
	return 0
}

// castagnoli returns the table for CRC32C. It is not made at the start, since this takes 0.2 ms, and few headers have a
// checksum.
var castagnoli = sync.OnceValue(func() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) })

// verifyChecksum checks the CRC32C in the TLVs that begin at offset in the header raw, if
// there is one (the specification, section 2.2.3). The checksum is that of the whole header, with zeros in place of the
// checksum.
func verifyChecksum(raw []byte, offset int) error {
	for vector := raw[offset:]; len(vector) >= 3; {
		end := 3 + int(binary.BigEndian.Uint16(vector[1:]))
		if end > len(vector) {
			return nil // some proxies send other bytes after the TLVs
		}
		kind, value := proxyproto.PP2Type(vector[0]), vector[3:end]
		vector = vector[end:]
		if kind != proxyproto.PP2_TYPE_CRC32C {
			continue
		}
		if len(value) != crc32.Size {
			return fmt.Errorf("%w: its CRC32C has %d bytes, want %d", ErrMalformed, len(value), crc32.Size)
		}
		sent := binary.BigEndian.Uint32(value)
		clear(value)
		if computed := crc32.Checksum(raw, castagnoli()); computed != sent {
			return fmt.Errorf("%w: %w: got %08x, want %08x", ErrMalformed, errChecksum, sent, computed)
		}
		return nil
	}
	return nil
}

var errChecksum = errors.New("wrong CRC32C")

const (
	longestV1 = 107 // bytes, with CR and LF (the specification, section 2.1)
	prefixV2  = 16  // bytes before the part of the header that its length field counts (section 2.2)
)

// await reads into the buffer of r a whole header of version 1, which the library needs at once, or the beginning of a
// header of version 2.
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

// begins reports whether got is the beginning of the signature, or begins with it.
func begins(got, signature []byte) bool {
	n := min(len(got), len(signature))
	return bytes.Equal(got[:n], signature[:n])
}

// overTCP returns addr as a TCP address. A client of the proxy over UDP is so logged and limited like any other client.
func overTCP(addr net.Addr) net.Addr {
	if udp, ok := addr.(*net.UDPAddr); ok {
		return &net.TCPAddr{IP: udp.IP, Port: udp.Port, Zone: udp.Zone}
	}
	return addr
}

// A conn is the connection of a client of a proxy.
type conn struct {
	net.Conn               // the connection of the proxy
	early    *bufio.Reader // has the bytes that were read after the header; nil when they have been returned
	remote   net.Addr
	local    net.Addr
	info     *service.ProxyInfo
}

// ProxyInfo returns the information in the header other than the addresses; nil if there is none. See
// [service.Listener].
func (c *conn) ProxyInfo() *service.ProxyInfo { return c.info }

func (c *conn) RemoteAddr() net.Addr { return c.remote }

func (c *conn) LocalAddr() net.Addr { return c.local }

// Read implements [net.Conn]. It first returns the bytes that were read after the header.
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

// CloseWrite half-closes the connection of the proxy, if this supports it.
func (c *conn) CloseWrite() error {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok {
		return fmt.Errorf("half-close: %w", errors.ErrUnsupported)
	}
	return half.CloseWrite()
}

// NetConn returns the connection of the proxy. It returns nil while c still has bytes from this connection that must be
// read first. It must not be called during a Read.
func (c *conn) NetConn() net.Conn {
	if c.early != nil {
		return nil
	}
	return c.Conn
}
