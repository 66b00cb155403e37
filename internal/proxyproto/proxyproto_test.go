package proxyproto

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/http/httptest"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/pires/go-proxyproto"
)

var (
	proxy   = &net.TCPAddr{IP: net.IPv4(192, 0, 2, 9), Port: 9}
	server  = &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 10000}
	trusted = []netip.Prefix{netip.MustParsePrefix("192.0.2.8/29"), netip.MustParsePrefix("fe80::/10")}
)

// A script is a connection from a proxy that sends the parts one by one, and then end.
type script struct {
	net.Conn
	parts      []string
	end        error
	remote     net.Addr
	halfClosed bool
}

func (s *script) RemoteAddr() net.Addr { return s.remote }

func (s *script) LocalAddr() net.Addr { return server }

func (s *script) CloseWrite() error {
	s.halfClosed = true
	return nil
}

func (s *script) Read(b []byte) (int, error) {
	if len(s.parts) == 0 {
		return 0, s.end
	}
	n := copy(b, s.parts[0])
	if s.parts[0] = s.parts[0][n:]; s.parts[0] == "" {
		s.parts = s.parts[1:]
	}
	return n, nil
}

var errTooFar = errors.New("read too far")

// sent is a connection from a trusted proxy; who reads further gets errTooFar.
func sent(parts ...string) *script {
	return &script{parts: slices.DeleteFunc(parts, func(s string) bool { return s == "" }), end: errTooFar, remote: proxy}
}

// v2 is a header of version 2.
func v2(command, family byte, body string) string {
	b := append(slices.Clone(proxyproto.SIGV2), command, family)
	return string(binary.BigEndian.AppendUint16(b, uint16(len(body)))) + body //nolint:gosec // short enough
}

// Headers that are right. Those of HAProxy were sent by its version 2.6.12.
var headers = []struct{ name, header, remote, local string }{
	{"HAProxy, v1, IPv4", "PROXY TCP4 127.0.0.1 127.0.0.1 49706 1001\r\n", "127.0.0.1:49706", "127.0.0.1:1001"},
	{"HAProxy, v1, IPv6", "PROXY TCP6 ::1 ::1 32770 1001\r\n", "[::1]:32770", "[::1]:1001"},
	{"HAProxy, v1, unix", "PROXY UNKNOWN\r\n", proxy.String(), server.String()},
	{
		"HAProxy, v2, IPv4, TLVs", "\r\n\r\n\x00\r\nQUIT\n!\x11\x00\x1e\x7f\x00\x00\x01\x7f\x00\x00\x01\xc5\xec\x03\xea" +
			"\x03\x00\x04\x0eN\xcb\x00\x05\x00\x00 \x00\x05\x00\x00\x00\x00\x00",
		"127.0.0.1:50668", "127.0.0.1:1002",
	},
	{
		"HAProxy, v2, IPv6, TLVs", "\r\n\r\n\x00\r\nQUIT\n!!\x006\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01" +
			"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x95\xc2\x03\xea\x03\x00\x04\x1a95\x98\x05\x00\x00 \x00\x05\x00\x00\x00\x00\x00",
		"[::1]:38338", "[::1]:1002",
	},
	{
		"HAProxy, v2, unix, TLVs", "\r\n\r\n\x00\r\nQUIT\n \x00\x00\x12\x03\x00\x04\x95^j\x00\x05\x00\x00 \x00\x05\x00\x00\x00\x00\x00",
		proxy.String(), server.String(),
	},
	{
		"HAProxy, v2, TLS", "\r\n\r\n\x00\r\nQUIT\n!\x11\x00f\x7f\x00\x00\x01\x7f\x00\x00\x01\xe4|\x03\xeb\x03\x00\x04\x95\xcbR<\x02\x00\rgreet.example" +
			"\x05\x00.7F000001:E47C_7F000001:03EB_6B03B20E_0006:0161 \x00\x0f\x01\x00\x00\x00\x00!\x00\x07TLSv1.3",
		"127.0.0.1:58492", "127.0.0.1:1003",
	},
	{"HAProxy, v2, health check", "\r\n\r\n\x00\r\nQUIT\n \x00\x00\x00", proxy.String(), server.String()},

	{"v1, longest", "PROXY UNKNOWN " + strings.Repeat("f", 91) + "\r\n", proxy.String(), server.String()},
	{"v1, IPv4 in IPv6 form", "PROXY TCP6 ::ffff:198.51.100.7 ::1 1 65535\r\n", "198.51.100.7:1", "[::1]:65535"},
	{"v2, UDP", v2(0x21, 0x12, "\xc6\x33\x64\x07\xcb\x00\x71\x01\x00\x01\x00\x02"), "198.51.100.7:1", "203.0.113.1:2"},
	{"v2, unix", v2(0x21, 0x31, "/client"+strings.Repeat("\x00", 101)+"/server"+strings.Repeat("\x00", 101)), "/client", "/server"},
	{"v2, unspecified", v2(0x21, 0x00, ""), proxy.String(), server.String()},
	{"v2, unspecified, TLVs", v2(0x21, 0x00, strings.Repeat("x", 4096)), proxy.String(), server.String()},
	{"v2, local, with addresses", v2(0x20, 0x11, "\xc6\x33\x64\x07\xcb\x00\x71\x01\x00\x01\x00\x02"), proxy.String(), server.String()},
	{
		"v2, longest", v2(0x21, 0x11, "\xc6\x33\x64\x07\xcb\x00\x71\x01\x00\x01\x00\x02"+strings.Repeat("x", 4084)),
		"198.51.100.7:1", "203.0.113.1:2",
	},
}

// checkUnwrapped reads what follows the header in c, which is to be after.
func checkUnwrapped(t *testing.T, c net.Conn, below *script, remote, local, after string) {
	t.Helper()
	if c.RemoteAddr().String() != remote || c.LocalAddr().String() != local {
		t.Errorf("from %s to %s, want from %s to %s", c.RemoteAddr(), c.LocalAddr(), remote, local)
	}
	if _, udp := c.RemoteAddr().(*net.UDPAddr); udp {
		t.Error("the client's address is one of UDP, want TCP")
	}
	got, err := io.ReadAll(c)
	if string(got) != after || !errors.Is(err, errTooFar) {
		t.Errorf("reading on gives %q and %v, want %q and what comes after it", got, err, after)
	}
	if nc := c.(*conn).NetConn(); nc != below {
		t.Errorf("NetConn = %v, want the proxy's connection", nc)
	}
}

func TestUnwrapAnnounced(t *testing.T) {
	const after = "\x16\x03\x01 and so on"
	for _, h := range headers {
		t.Run(h.name, func(t *testing.T) {
			whole := h.header + after
			step := 1 + len(h.header)/200 // not all of 4,000
			for split := 0; split <= len(whole); split += step {
				below := sent(whole[:split], whole[split:])
				c, err := Unwrap(trusted)(below)
				if err != nil {
					t.Fatalf("split at %d: %v", split, err)
				}
				checkUnwrapped(t, c, below, h.remote, h.local, after)
			}
			below := sent(strings.Split(whole, "")...)
			c, err := Unwrap(trusted)(below)
			if err != nil {
				t.Fatalf("byte by byte: %v", err)
			}
			checkUnwrapped(t, c, below, h.remote, h.local, after)
		})
	}
}

// The client of a server that speaks first sends nothing after the header.
func TestUnwrapWaitsForNothingElse(t *testing.T) {
	for _, h := range headers {
		below := sent(h.header)
		c, err := Unwrap(trusted)(below)
		if err != nil {
			t.Errorf("%s: %v", h.name, err)
			continue
		}
		if nc := c.(*conn).NetConn(); nc != below {
			t.Errorf("%s: NetConn = %v, want the proxy's connection", h.name, nc)
		}
	}
}

func TestUnwrapRefuses(t *testing.T) {
	for _, c := range []struct {
		name, sent string
		want       error
	}{
		{"a wrong first byte", "x", ErrMissing},
		{"HTTP", "GET / HTTP/1.1\r\n\r\n", ErrMissing},
		{"another P", "POST / HTTP/1.1\r\n\r\n", ErrMissing},
		{"TLS", "\x16\x03\x01\x02\x00\x01\x00", ErrMissing},
		{"an empty line", "\r\n\r\nhello", ErrMissing},
		{"v1 with something attached", "PROXYx TCP4 1.2.3.4 1.2.3.4 1 2\r\n", ErrMalformed},
		{"v1 without CR", "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n", ErrMalformed},
		{"v1 that is too long", "PROXY UNKNOWN " + strings.Repeat("f", 92) + "\r\n", ErrMalformed},
		{"v1 without an end", "PROXY " + strings.Repeat("f", 300), ErrMalformed},
		{"v1 with a name", "PROXY TCP4 localhost 1.2.3.4 1 2\r\n", ErrMalformed},
		{"v1 with a zone", "PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n", ErrMalformed},
		{"v1 with the other family", "PROXY TCP4 ::1 ::1 1 2\r\n", ErrMalformed},
		{"v1 with a port out of range", "PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n", ErrMalformed},
		{"v1 with UDP", "PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n", ErrMalformed},
		{"v1 with too little", "PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n", ErrMalformed},
		{"v1 with too much", "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n", ErrMalformed},
		{"v2 of version 3", v2(0x31, 0x11, "123412341212"), ErrMalformed},
		{"v2 with another command", v2(0x22, 0x11, "123412341212"), ErrMalformed},
		{"v2 with another family", v2(0x21, 0x41, "123412341212"), ErrMalformed},
		{"v2 with another transport", v2(0x21, 0x13, "123412341212"), ErrMalformed},
		{"v2 that is too short", v2(0x21, 0x11, "12341234121"), ErrMalformed},
		{"v2 that is too long", v2(0x21, 0x11, strings.Repeat("x", 4097)), ErrMalformed},
		{"v2 unspecified that is too long", v2(0x21, 0x00, strings.Repeat("x", 4097)), ErrMalformed},
		{"v2 local that is too long", v2(0x20, 0x00, strings.Repeat("x", 4097)), ErrMalformed},
		{"nothing", "", errTooFar},
		{"half a signature", "PRO", errTooFar},
		{"half of v1", "PROXY TCP4 1.2.3.4", errTooFar},
		{"half of v2", v2(0x21, 0x11, "123412341212")[:20], errTooFar},
		{"v1 without an end, as long as the longest", "PROXY " + strings.Repeat("f", 101), ErrMalformed},
		{"v2 unspecified without its length", v2(0x21, 0x00, "")[:14], errTooFar},
		{"half of v2 unspecified", v2(0x21, 0x00, "123412341212")[:20], errTooFar},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, parts := range [][]string{{c.sent}, strings.Split(c.sent, "")} {
				got, err := Unwrap(trusted)(sent(parts...))
				if got != nil || !errors.Is(err, c.want) {
					t.Errorf("in %d parts: %v, %v; want %v", len(parts), got, err, c.want)
				}
				for _, other := range []error{ErrMissing, ErrMalformed, errTooFar} {
					if !errors.Is(c.want, other) && errors.Is(err, other) {
						t.Errorf("in %d parts: %v is also %v", len(parts), err, other)
					}
				}
			}
		})
	}
}

// A checksum that a proxy sends must be right, whatever it is that the header says.
func TestUnwrapChecksTheChecksum(t *testing.T) {
	const addresses = "\xc6\x33\x64\x07\xcb\x00\x71\x01\x00\x01\x00\x02"
	for name, header := range map[string]string{
		"HAProxy, IPv4": headers[3].header, "HAProxy, IPv6": headers[4].header, "HAProxy, local": headers[5].header, "HAProxy, TLS": headers[6].header,
		"unspecified": summed(v2(0x21, 0x00, "\x03\x00\x04\x00\x00\x00\x00\x02\x00\x01x")),
		"unix":        summed(v2(0x21, 0x31, strings.Repeat("/", 216)+"\x03\x00\x04\x00\x00\x00\x00")),
		"longest":     summed(v2(0x21, 0x11, addresses+"\x03\x00\x04\x00\x00\x00\x00"+"\x04\x0f\xea"+strings.Repeat("\x00", 4074))),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Unwrap(trusted)(sent(header)); err != nil {
				t.Error(err)
			}
			at := strings.Index(header, "\x03\x00\x04") + 3
			for _, i := range []int{at, at + 3, len(header) - 1} {
				damaged := []byte(header)
				damaged[i] ^= 0x10
				c, err := Unwrap(trusted)(sent(string(damaged)))
				if c != nil || !errors.Is(err, ErrMalformed) || !errors.Is(err, errChecksum) {
					t.Errorf("byte %d damaged: %v, %v; want a wrong checksum", i, c, err)
				}
			}
		})
	}
	if _, err := Unwrap(trusted)(sent(v2(0x21, 0x11, addresses+"\x03\x00\x03\x00\x00\x00"))); !errors.Is(err, ErrMalformed) {
		t.Errorf("a checksum of 3 bytes: %v, want %v", err, ErrMalformed)
	}
}

// summed is header with the checksum that its first TLV 0x03 has room for.
func summed(header string) string {
	b := []byte(header)
	at := strings.Index(header, "\x03\x00\x04") + 3
	binary.BigEndian.PutUint32(b[at:], crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	return string(b)
}

// What ends reading decides how the visit ends, so it must be found in the error.
func TestUnwrapTellsWhyReadingEnded(t *testing.T) {
	for _, end := range []error{io.EOF, os.ErrDeadlineExceeded, net.ErrClosed} {
		for _, half := range []string{"", "PROXY", "PROXY TCP4 ", headers[3].header[:5], headers[3].header[:14], headers[3].header[:30]} {
			below := sent(half)
			below.end = end
			if _, err := Unwrap(trusted)(below); !errors.Is(err, end) {
				t.Errorf("%q, then %v: %v", half, end, err)
			}
		}
	}
}

func TestUnwrapLeavesOthersAlone(t *testing.T) {
	for _, c := range []struct {
		remote  net.Addr
		trusted bool
	}{
		{proxy, true},
		{&net.TCPAddr{IP: net.ParseIP("::ffff:192.0.2.15"), Port: 1}, true},
		{&net.TCPAddr{IP: net.ParseIP("fe80::1"), Zone: "eth0", Port: 1}, true},
		{&net.TCPAddr{IP: net.ParseIP("192.0.2.16"), Port: 1}, false},
		{&net.TCPAddr{IP: net.ParseIP("::1"), Port: 1}, false},
		{&net.UnixAddr{Name: "@", Net: "unix"}, false},
	} {
		below := sent(headers[0].header)
		below.remote = c.remote
		got, err := Unwrap(trusted)(below)
		if err != nil || (got != net.Conn(below)) != c.trusted {
			t.Errorf("%s: %v, %v; want trusted: %t", c.remote, got, err, c.trusted)
		}
		if left := strings.Join(below.parts, ""); (left == "") != c.trusted {
			t.Errorf("%s: %q is left to read", c.remote, left)
		}
	}
	if Unwrap(nil) != nil {
		t.Error("Unwrap of nobody is not nil")
	}
}

func TestUnwrapTrustsUnixSockets(t *testing.T) {
	onUnix := Unwrap([]netip.Prefix{{}})
	for _, remote := range []net.Addr{&net.UnixAddr{Name: "@", Net: "unix"}, proxy} {
		below := sent(headers[0].header)
		below.remote = remote
		got, err := onUnix(below)
		if trusted := remote != net.Addr(proxy); err != nil || (got != net.Conn(below)) != trusted {
			t.Errorf("%s: %v, %v; want trusted: %t", remote, got, err, trusted)
		}
	}
}

// A caller that uses its list again changes nothing about who is trusted.
func TestUnwrapKeepsItsOwnList(t *testing.T) {
	list := slices.Clone(trusted)
	unwrap := Unwrap(list)
	clear(list)
	below := sent(headers[0].header)
	if c, err := unwrap(below); err != nil || c == net.Conn(below) {
		t.Errorf("%v, %v: the proxy is no longer trusted", c, err)
	}
}

func TestConn(t *testing.T) {
	below := sent(headers[0].header + "more")
	c, err := Unwrap(trusted)(below)
	if err != nil {
		t.Fatal(err)
	}
	u := c.(*conn)
	if nc := u.NetConn(); nc != nil {
		t.Errorf("NetConn = %v while there is something to read, want nil", nc)
	}
	buf := make([]byte, 3)
	if n, err := c.Read(buf); n != 3 || err != nil || string(buf) != "mor" {
		t.Errorf("Read = %d, %v, %q", n, err, buf)
	}
	if nc := u.NetConn(); nc != nil {
		t.Errorf("NetConn = %v while there is something to read, want nil", nc)
	}
	if err := u.CloseWrite(); err != nil || !below.halfClosed {
		t.Errorf("CloseWrite = %v, half-closed: %t", err, below.halfClosed)
	}
	u.Conn = struct{ net.Conn }{}
	if err := u.CloseWrite(); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("CloseWrite = %v, want ErrUnsupported", err)
	}
}

// The header, the client's part of the TLS handshake and some more in one segment.
func TestTLSFollowsTheHeader(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	withCertificate := httptest.NewUnstartedServer(nil)
	withCertificate.StartTLS()
	defer withCertificate.Close()

	greeted := make(chan error, 1)
	go func() {
		greeted <- func() error {
			c, err := ln.Accept()
			if err != nil {
				return err
			}
			defer c.Close()
			u, err := Unwrap([]netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")})(c)
			if err != nil {
				return err
			}
			s := tls.Server(u, &tls.Config{Certificates: withCertificate.TLS.Certificates})
			_, err = fmt.Fprintf(s, "Hello %s", s.RemoteAddr())
			return errors.Join(err, s.CloseWrite(), u.(*conn).CloseWrite())
		}()
	}()

	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	client := tls.Client(&together{Conn: c, header: "PROXY TCP4 198.51.100.7 203.0.113.1 5 6\r\n"}, &tls.Config{InsecureSkipVerify: true})
	text, err := io.ReadAll(client)
	if string(text) != "Hello 198.51.100.7:5" || err != nil {
		t.Errorf("greeting is %q, %v", text, err)
	}
	if err := <-greeted; err != nil {
		t.Error(err)
	}
}

// together sends the header in one segment with what is written first.
type together struct {
	net.Conn
	header string
}

func (c *together) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(append([]byte(c.header), b...))
	n = max(0, n-len(c.header))
	c.header = ""
	return n, err
}

// FuzzUnwrap holds Unwrap to its promises for any bytes in any parts: they are either
// refused for one reason, or a header and what can be read after it; it reads no more
// than a header takes; and what the library takes in one part, it takes in any.
func FuzzUnwrap(f *testing.F) {
	for _, h := range headers {
		f.Add([]byte(h.header), uint16(10), []byte("after"))
	}
	f.Add([]byte("PROXY TCP4 1.2.3.4 \n"), uint16(1), []byte("PROXY UNKNOWN\r\n"))
	f.Fuzz(func(t *testing.T, header []byte, split uint16, after []byte) {
		whole := string(header) + string(after)
		at := min(int(split), len(whole))
		below := sent(whole[:at], whole[at:])
		c, err := Unwrap(trusted)(below)

		known, libraryErr := libraryReads(whole)
		if libraryErr == nil && err != nil && !strings.Contains(err.Error(), "CRC32C") { // which the library does not check
			t.Fatalf("%q is refused: %v", whole, err)
		}
		if err != nil {
			reasons := 0
			for _, reason := range []error{ErrMissing, ErrMalformed, errTooFar} {
				if errors.Is(err, reason) {
					reasons++
				}
			}
			if c != nil || reasons != 1 {
				t.Fatalf("%v, %v: want no connection and one reason", c, err)
			}
			return
		}
		rest, _ := io.ReadAll(c)
		if !strings.HasSuffix(whole, string(rest)) || len(whole)-len(rest) < 15 || len(whole)-len(rest) > 4112 {
			t.Errorf("after %q comes %q", whole, rest)
		}
		if c.RemoteAddr() == nil || c.LocalAddr() == nil {
			t.Error("an address is nil")
		}
		if libraryErr == nil && string(rest) != known {
			t.Errorf("after %q comes %q, want %q", whole, rest, known)
		}
	})
}

// libraryReads is what the library leaves after a header that is there at once.
func libraryReads(whole string) (rest string, err error) {
	c := proxyproto.NewConn(sent(whole), proxyproto.SetReadHeaderTimeout(0), proxyproto.WithBufferSize(8192))
	got, err := io.ReadAll(c)
	if errors.Is(err, errTooFar) && c.ProxyHeader() != nil {
		return string(bytes.Clone(got)), nil
	}
	return "", err
}
