package probe

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/net/idna"
)

// A Target is a host and a port, or the path of a unix socket. Targets can be compared with ==.
type Target struct {
	Host string     // a name as it was written, or an address without brackets; "" for a unix socket, and may be "" if Addr is set
	Addr netip.Addr // the only address to try; the zero value: Host if it is an address, else all addresses of Host
	Port uint16     // 0 for a unix socket
	Path string     // the path of the unix socket, or "@" and the name of an abstract one; "" for TCP
}

// maxUnixPath is what sun_path holds besides its final NUL (unix(7)).
const maxUnixPath = len(syscall.RawSockaddrUnix{}.Path) - 1

// ParseTarget parses HOST:PORT, ADDRESS:PORT, [V6]:PORT, HOST[ADDRESS]:PORT or unix:PATH.
// HOST[ADDRESS]:PORT probes this address with the name HOST. PORT is a number from 1 to 65535 or
// the name of a service. HOST may be internationalized. The error is one sentence that contains s.
func ParseTarget(s string) (Target, error) {
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		return unixTarget(path)
	}
	colon := strings.LastIndexByte(s, ':')
	bracket := strings.LastIndexByte(s, ']')
	switch {
	case strings.Contains(s, "://"):
		return Target{}, fmt.Errorf("%q: write HOST:PORT, without scheme", s)
	case strings.Count(s, ":") > 1 && !strings.Contains(s, "["):
		return Target{}, fmt.Errorf("%q: write an IPv6 address in brackets: [ADDRESS]:PORT", s)
	case colon < bracket || colon < 0:
		return Target{}, fmt.Errorf("%q has no port: write HOST:PORT", s)
	case colon == 0:
		return Target{}, fmt.Errorf("%q has no host: write HOST:PORT", s)
	}
	return JoinTarget(s[:colon], s[colon+1:])
}

// JoinTarget returns the target with this host and port. An IPv6 address may have brackets. The
// port is a number or the name of a service.
func JoinTarget(host, port string) (Target, error) {
	number, err := parsePort(port)
	if err != nil {
		return Target{}, err
	}
	name, inner, bracketed := strings.Cut(host, "[")
	if !bracketed {
		return hostTarget(host, number)
	}
	addr, ok := strings.CutSuffix(inner, "]")
	if !ok {
		return Target{}, fmt.Errorf("%q: the bracket is not closed", host)
	}
	ip, err := netip.ParseAddr(addr)
	switch {
	case name == "" && !ip.Is6():
		return Target{}, fmt.Errorf("%q: the brackets do not contain an IPv6 address", host)
	case err != nil:
		return Target{}, fmt.Errorf("%q: the brackets do not contain an address", host)
	case name == "":
		return Target{Host: ip.String(), Addr: ip, Port: number}, nil
	}
	target, err := hostTarget(name, number)
	if err == nil && target.Addr.IsValid() {
		err = fmt.Errorf("%q: an address can't stand for another one", host)
	}
	target.Addr = ip
	return target, err
}

func hostTarget(host string, port uint16) (Target, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		return Target{Host: ip.String(), Addr: ip, Port: port}, nil
	}
	t := Target{Host: host, Port: port}
	_, err := t.name()
	return t, err
}

func unixTarget(path string) (Target, error) {
	switch {
	case path == "" || path == "@":
		return Target{}, errors.New("unix: has no path: write unix:/PATH")
	case len(path) > maxUnixPath:
		return Target{}, fmt.Errorf("unix:%s: the path is longer than %d bytes", path, maxUnixPath)
	case strings.IndexByte(path, 0) >= 0:
		return Target{}, fmt.Errorf("unix:%q: a path can't contain NUL", path)
	}
	return Target{Path: path}, nil
}

func parsePort(s string) (uint16, error) {
	digits := strings.Trim(s, "0123456789") == ""
	if n, err := strconv.Atoi(s); s != "" && digits {
		if err != nil || n < 1 || n > 65535 {
			return 0, fmt.Errorf("port %s is not between 1 and 65535", s)
		}
		return uint16(n), nil
	}
	n, err := net.LookupPort("tcp", s) //nolint:noctx // reads /etc/services, and does not wait
	if err != nil || strings.ContainsAny(s[:min(1, len(s))], "+-") || n < 1 || n > 65535 {
		return 0, fmt.Errorf("%q is neither a port number nor a service in /etc/services", s)
	}
	return uint16(n), nil
}

// name returns the host as the domain name system knows it: in ASCII.
func (t Target) name() (string, error) {
	name := t.Host
	if strings.IndexFunc(name, func(r rune) bool { return r >= 0x80 }) >= 0 {
		ascii, err := idna.Lookup.ToASCII(name)
		if err != nil {
			return "", fmt.Errorf("%q is not a host name: %w", t.Host, err)
		}
		name = ascii
	}
	if err := checkName(name); err != nil {
		return "", fmt.Errorf("%q is not a host name: %w", t.Host, err)
	}
	return name, nil
}

// checkName checks an ASCII name according to RFC 1123, section 2.1, but allows underscores, as resolvers
// do.
func checkName(name string) error {
	labels := strings.Split(strings.TrimSuffix(name, "."), ".")
	if len(name) > 254 {
		return errors.New("it is longer than 253 characters")
	}
	for _, label := range labels {
		switch {
		case label == "":
			return errors.New("a part of it is empty")
		case len(label) > 63:
			return errors.New("a part of it is longer than 63 characters")
		case label[0] == '-' || label[len(label)-1] == '-':
			return errors.New("a part of it begins or ends with a hyphen")
		}
		for i := range len(label) {
			if c := label[i]; !isLetter(c) && !isDigit(c) && c != '-' && c != '_' {
				return fmt.Errorf("%q can't be part of it", c)
			}
		}
	}
	if last := labels[len(labels)-1]; strings.Trim(last, "0123456789") == "" {
		return errors.New("it looks like an IPv4 address, but is not one")
	}
	return nil
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }
func isDigit(c byte) bool  { return '0' <= c && c <= '9' }

// Name returns t without Addr, if it has a Host. For a target in a result of [Many.All] or DoAll,
// this is the original target.
func (t Target) Name() Target {
	if t.Addr.IsValid() && t.Host != t.Addr.String() {
		t.Addr = netip.Addr{}
	}
	return t
}

// String returns the form that [ParseTarget] reads, with the port as a number. Without a port it
// returns only the host.
func (t Target) String() string {
	port := strconv.Itoa(int(t.Port))
	switch {
	case t.Path != "":
		return "unix:" + t.Path
	case t.Host == "" && t.Addr.IsValid():
		return net.JoinHostPort(t.Addr.String(), port)
	case t.Port == 0:
		return t.Host
	case t.Addr.IsValid() && t.Host != t.Addr.String():
		return t.Host + "[" + t.Addr.String() + "]:" + port
	}
	return net.JoinHostPort(t.Host, port)
}
