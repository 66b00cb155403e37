package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"greetd.example/internal/words"
)

var listenAddress = text(`an address such as ":10000"`, "^("+tcpPattern+"|unix:@[^\\x00]{1,106}|"+unixPattern+")$", func(s string) error {
	_, err := parseAddress(s)
	return err
}).except(noHostPattern)

var adminAddress = text("an address such as unix:/run/greetd/admin.sock", "^("+tcpPattern+"|"+unixPattern+")?$", func(s string) error {
	if s == "" {
		return nil
	}
	if strings.HasPrefix(s, "unix:@") {
		return errors.New("must not be abstract: such a socket has no permissions, and every local user could control the daemon; write unix:/run/greetd/admin.sock")
	}
	_, err := parseAddress(s)
	return err
}).except(noHostPattern)

// An endpoint is a parsed address. A host name in it is not resolved.
type endpoint struct {
	path string     // of a unix socket, cleaned, or its abstract name; "" for TCP
	host string     // in lower case, without a dot at its end; "" for all addresses
	ip   netip.Addr // host, if it is an IP address, not in IPv4-mapped form; else the zero Addr
	port int        // 0: any free port
}

// parseAddress reads host:port, [v6]:port, :port, unix:/path or unix:@name. Its errors are written to
// follow the address in a sentence: "has no port".
func parseAddress(s string) (endpoint, error) {
	if s == "" {
		return endpoint{}, errors.New(`must not be empty: give a port, such as ":10000"`)
	}
	if p, ok := strings.CutPrefix(s, "unix:"); ok {
		if !strings.HasPrefix(p, "@") {
			p = path.Clean(p)
		}
		return endpoint{path: p}, checkSocketPath(s[len("unix:"):])
	}
	if lower := strings.ToLower(s); strings.HasPrefix(lower, "vsock:") || strings.HasPrefix(lower, "vsock-") && strings.Count(s, ":") > 1 {
		return endpoint{}, errVsock
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return endpoint{}, splitError(s)
	}
	number, err := portNumber(port)
	if err != nil {
		return endpoint{}, err
	}
	e := endpoint{host: strings.ToLower(strings.TrimSuffix(host, ".")), port: number}
	if ip, err := netip.ParseAddr(host); err == nil {
		e.ip = ip.Unmap()
		return e, checkZone(ip)
	}
	return e, checkHost(host, port)
}

// maxSocketPath is the length of sun_path without the NUL at its end (unix(7)).
const maxSocketPath = len(syscall.RawSockaddrUnix{}.Path) - 1

func checkSocketPath(p string) error {
	switch {
	case p == "@":
		return errors.New("must have a name after the @, such as unix:@greet")
	case !strings.HasPrefix(p, "/") && !strings.HasPrefix(p, "@"):
		return errors.New("must have an absolute path, such as unix:/run/greetd/greet.sock")
	case len(p) > maxSocketPath:
		return fmt.Errorf("must have a path of at most %d bytes, not %d: no socket can have a longer one", maxSocketPath, len(p))
	case strings.HasSuffix(p, "/") && p[0] == '/':
		return errors.New("must name a socket in that directory, such as unix:/run/greetd/greet.sock")
	}
	return noNUL(p)
}

// notAddresses are words that are valid host names, but are probably meant as a setting.
var notAddresses = []string{"off", "no", "none", "false", "disabled", "on", "yes", "true", "all", "any", "auto", "default", "infinity"}

// transports are the prefixes that other programs allow before an address.
var transports = []string{"tcp", "tcp4", "tcp6", "udp", "udp4", "udp6"}

var errVsock = errors.New("is a vsock address, which only systemd can bind: let greetd.socket listen there (ListenStream=vsock:CID:PORT), and write host:port or unix:/path here")

// splitError returns an error that says what to write instead of s, which net.SplitHostPort can't split.
func splitError(s string) error {
	bare := strings.TrimSuffix(strings.TrimPrefix(s, "["), "]")
	scheme, rest, isURL := strings.Cut(s, "://")
	_, notNumber := strconv.Atoi(s)
	_, notIP := netip.ParseAddr(bare)
	transport, address, _ := strings.Cut(s, ":")
	switch {
	case isURL:
		rest, _, _ = strings.Cut(rest, "/")
		return fmt.Errorf("must not have %s: write %s", words.Quote(scheme+"://"), words.Quote(rest))
	case slices.Contains(transports, strings.ToLower(transport)) && strings.Contains(address, ":"):
		return fmt.Errorf("must not have %s: write %s", words.Quote(transport+":"), words.Quote(address))
	case slices.Contains(notAddresses, strings.ToLower(s)):
		return errors.New(`is not an address: write one, such as ":10000"; to listen nowhere, remove the listener`)
	case notNumber == nil:
		return fmt.Errorf("has no colon: write %s", words.Quote(":"+s))
	case strings.HasPrefix(s, "/"):
		return fmt.Errorf("has no port: for a unix socket write %s", words.Quote("unix:"+s))
	case notIP == nil:
		return fmt.Errorf("has no port: write %s", words.Quote(net.JoinHostPort(bare, "10000")))
	case !strings.Contains(s, ":"):
		return fmt.Errorf("has no port: write %s", words.Quote(s+":10000"))
	case strings.Count(s, ":") > 1:
		return errors.New(`must have brackets around an IPv6 address, such as "[2001:db8::1]:10000"`)
	}
	return errors.New(`must be host:port, such as ":10000" or "192.0.2.1:10000"`)
}

func portNumber(port string) (int, error) {
	if port == "" {
		return 0, errors.New(`has no port after the colon: write one, such as ":10000"`)
	}
	if strings.Trim(port, "+-0123456789") == "" {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return 0, fmt.Errorf("has port %s: ports are from 1 to 65535, and 0 is any free port", words.Quote(port))
		}
		return int(n), nil
	}
	n, err := net.LookupPort("tcp", port) //nolint:noctx // asks no network, only /etc/services
	if err != nil {
		return 0, fmt.Errorf("has port %s, which is neither a number nor a service in /etc/services", words.Quote(port))
	}
	return n, nil
}

// checkZone returns an error if ip is a link-local address without a zone, or another address with a
// zone. Link-local addresses exist on each interface, so they need one (RFC 4007).
func checkZone(ip netip.Addr) error {
	zone := ip.Zone()
	switch needed := ip.Is6() && !ip.Is4In6() && ip.IsLinkLocalUnicast(); {
	case needed && zone == "":
		return fmt.Errorf("is a link-local address without its interface: write it behind a percent sign, such as [%s%%eth0]; ip -6 address lists them", ip)
	case !needed && zone != "":
		return fmt.Errorf("must not have the zone %s: only a link-local address has one", words.Quote(zone))
	}
	return nil
}

func checkHost(host, port string) error {
	switch {
	case host == "*":
		return fmt.Errorf("must not have a star: for all addresses write %q", ":"+port)
	case host != "" && !isHostName(host):
		return fmt.Errorf("has host %s, which is neither an IP address nor a host name", words.Quote(host))
	}
	return nil
}

// isHostName reports whether s can be a host name by RFC 1123, section 2.1. It also allows underscores,
// since there are hosts with such names. A name whose last label is a number is not allowed: it is a
// mistyped IPv4 address.
func isHostName(s string) bool {
	labels := strings.Split(strings.TrimSuffix(s, "."), ".")
	for _, label := range labels {
		odd := strings.ContainsFunc(label, func(r rune) bool { return !isWord(r) })
		if label == "" || len(label) > 63 || odd || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
	}
	last := labels[len(labels)-1]
	return strings.Trim(last, "0123456789") != "" && len(s) <= 253
}

// overlaps reports whether only one of e and o can be listened on. The zero endpoint overlaps no other
// one. 0.0.0.0 and [::] do not overlap: the first is all IPv4 addresses, the second all IPv6 addresses.
func (e endpoint) overlaps(o endpoint) bool {
	if e.path != "" || o.path != "" {
		return e.path == o.path
	}
	if e.port != o.port || e.port == 0 {
		return false
	}
	switch {
	case e.host == "" || o.host == "":
		return true
	case e.ip.IsValid() && o.ip.IsValid():
		return e.ip == o.ip || e.ip.Is4() == o.ip.Is4() && (e.ip.IsUnspecified() || o.ip.IsUnspecified())
	case e.ip.IsValid() || o.ip.IsValid():
		return e.ip.IsUnspecified() || o.ip.IsUnspecified() // the name may resolve to an address of this family
	}
	return e.host == o.host
}
