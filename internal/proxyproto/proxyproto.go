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
	"iter"
	"net"
	"net/netip"
	"slices"
	"sync"

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
// A CRC32C in a header of version 2 must be right.
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
		u.info = infoIn(header)
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
	if got, _ := r.Peek(1); got[0] == proxyproto.SIGV2[0] {
		return readV2(r)
	}
	return parse(r)
}

// readV2 reads a header of version 2. What its bytes are is remembered only where TLVs
// follow the addresses, since the checksum is one of them.
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

// parseV2 reads the header of version 2 that begins with prefix from r. The specification
// leaves it to us whether to serve a client that is forwarded from an unknown family by the
// real addresses; the library does not.
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

// addressLength is how many bytes the addresses of a family take (the specification, section 2.2).
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

// castagnoli is not made at the start: that takes 0.2 ms, and few headers have a checksum.
var castagnoli = sync.OnceValue(func() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) })

// verifyChecksum checks the CRC32C in the TLVs that begin at offset in the header raw, if
// there is one (the specification, section 2.2.3). It is made over the whole header with
// the checksum itself as zeros.
func verifyChecksum(raw []byte, offset int) error {
	for kind, value := range tlvs(raw[offset:]) {
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

// tlvs yields the type and the value of each TLV in vector, up to one that does not fit:
// what some proxies send there is no vector.
func tlvs(vector []byte) iter.Seq2[proxyproto.PP2Type, []byte] {
	return func(yield func(proxyproto.PP2Type, []byte) bool) {
		for len(vector) >= 3 {
			end := 3 + int(binary.BigEndian.Uint16(vector[1:]))
			if end > len(vector) || !yield(proxyproto.PP2Type(vector[0]), vector[3:end]) {
				return
			}
			vector = vector[end:]
		}
	}
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

// begins reports whether got can be the beginning of something with the signature.
func begins(got, signature []byte) bool {
	n := min(len(got), len(signature))
	return bytes.Equal(got[:n], signature[:n])
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
	info     *service.ProxyInfo
}

// ProxyInfo is what the header says beside the addresses, nil if that is nothing; see
// [service.Listener].
func (c *conn) ProxyInfo() *service.ProxyInfo { return c.info }

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
