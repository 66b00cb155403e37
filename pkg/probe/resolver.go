package probe

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// A resolver finds the addresses of names in the same way as other programs of this system. Its fields are the
// places of the configuration and of the services for that.
type resolver struct {
	nsswitch string // nsswitch.conf(5)
	resolved string // the socket of systemd-resolved
	getent   string // the program getent(1), which asks the C library
}

var systemResolver = resolver{
	nsswitch: "/etc/nsswitch.conf",
	resolved: "/run/systemd/resolve/io.systemd.Resolve",
	getent:   "getent",
}

// lookup returns the addresses of name in network, which is ip4 or ip6. The package net only supports the sources
// files and dns of nsswitch.conf. If another source can know the name, lookup asks systemd-resolved or the C
// library.
func (s resolver) lookup(ctx context.Context, network, name string) ([]netip.Addr, error) {
	ask := s.askWhom(name)
	if ask == askResolved {
		addrs, err := s.askResolved(ctx, network, name)
		if !unavailable(err) {
			return addrs, err
		}
		ask = askLibrary
	}
	if ask == askLibrary {
		if addrs, err := s.askLibrary(ctx, network, name); !unavailable(err) {
			return addrs, err
		}
	}
	return withPlain(ctx, func(ctx context.Context, r *net.Resolver) ([]netip.Addr, error) {
		return r.LookupNetIP(ctx, network, name)
	})
}

// unavailable reports whether err means that the service or program can't be asked.
func unavailable(err error) bool {
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrPermission) ||
		errors.Is(err, syscall.ECONNREFUSED)
}

type whom int

const (
	askOurselves whom = iota
	askResolved
	askLibrary
)

// askWhom returns the resolver to ask, one that includes all sources of nsswitch.conf that can know name.
func (s resolver) askWhom(name string) whom {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if isLocalhost(name) {
		return askOurselves
	}
	ask := askOurselves
	for _, source := range s.sources() {
		switch {
		case source == "resolve":
			ask = max(ask, askResolved)
		case mayKnow(source, name):
			return askLibrary
		}
	}
	return ask
}

// mayKnow reports whether a source can have addresses of name that files and dns do not have.
func mayKnow(source, name string) bool {
	switch {
	case source == "files", source == "dns":
		return false
	case source == "myhostname": // nss-myhostname(8)
		host, _ := os.Hostname()
		return strings.EqualFold(name, host) || strings.HasPrefix(name, "_")
	case source == "mymachines": // nss-mymachines(8)
		return !strings.Contains(name, ".")
	case strings.HasPrefix(source, "mdns"):
		return strings.HasSuffix(name, ".local")
	}
	return true
}

// sources returns the sources of the line hosts in nsswitch.conf, without their actions.
func (s resolver) sources() []string {
	text, err := os.ReadFile(s.nsswitch)
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(text)) {
		line, _, _ = strings.Cut(line, "#")
		database, rest, found := strings.Cut(line, ":")
		if found && strings.TrimSpace(database) == "hosts" {
			return strings.Fields(nssAction.ReplaceAllString(rest, " "))
		}
	}
	return nil
}

var nssAction = regexp.MustCompile(`\[[^]]*(?:]|$)`)

// notFound returns the same error as net.Resolver for a name without addresses.
func notFound(name string) error {
	return &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}

// The messages of io.systemd.Resolve, a varlink service. Each message is a JSON object followed by a NUL.
type (
	varlinkCall struct {
		Method     string          `json:"method"`
		Parameters resolveHostname `json:"parameters"`
	}
	resolveHostname struct {
		Name   string `json:"name"`
		Family int    `json:"family"`
	}
	varlinkReply struct {
		Error      string `json:"error"`
		Parameters struct {
			Addresses []struct {
				Interface int    `json:"ifindex"`
				Bytes     []byte `json:"address"` // numbers in JSON
			} `json:"addresses"`
			Rcode int `json:"rcode"`
		} `json:"parameters"`
	}
)

// resolvedReasons are the errors of io.systemd.Resolve in words.
var resolvedReasons = map[string]string{
	"io.systemd.Resolve.NoNameServers":          "systemd-resolved has no name server",
	"io.systemd.Resolve.QueryTimedOut":          "systemd-resolved got no answer",
	"io.systemd.Resolve.MaxAttemptsReached":     "systemd-resolved got no usable answer",
	"io.systemd.Resolve.DNSSECValidationFailed": "the answer did not pass DNSSEC",
	"io.systemd.Resolve.NetworkDown":            "the network is down",
	"io.systemd.Resolve.CNAMELoop":              "its CNAMEs go in a circle",
}

func (s resolver) askResolved(ctx context.Context, network, name string) ([]netip.Addr, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", s.resolved)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { interrupt(conn) })
	defer stop()
	family := syscall.AF_INET
	if network == "ip6" {
		family = syscall.AF_INET6
	}
	call, _ := json.Marshal(varlinkCall{"io.systemd.Resolve.ResolveHostname", resolveHostname{name, family}}) // can't fail
	if _, err := conn.Write(append(call, 0)); err != nil {
		return nil, fmt.Errorf("ask systemd-resolved: %w", reason(err))
	}
	var reply varlinkReply
	if err := json.NewDecoder(conn).Decode(&reply); err != nil {
		return nil, fmt.Errorf("ask systemd-resolved: %w", reason(err))
	}
	return reply.addresses(name)
}

func (r *varlinkReply) addresses(name string) ([]netip.Addr, error) {
	const nameError = 3 // NXDOMAIN
	switch why, known := resolvedReasons[r.Error]; {
	case r.Error == "io.systemd.Resolve.NoSuchResourceRecord",
		r.Error == "io.systemd.Resolve.DNSError" && r.Parameters.Rcode == nameError:
		return nil, notFound(name)
	case known:
		return nil, errors.New(why)
	case r.Error == "io.systemd.Resolve.DNSError":
		return nil, fmt.Errorf("systemd-resolved got the DNS error %d", r.Parameters.Rcode)
	case r.Error != "":
		return nil, fmt.Errorf("systemd-resolved: %s", r.Error)
	}
	var addrs []netip.Addr
	for _, one := range r.Parameters.Addresses {
		addr, ok := netip.AddrFromSlice(one.Bytes)
		if !ok {
			continue
		}
		if addr.IsLinkLocalUnicast() && addr.Is6() && one.Interface > 0 {
			if link, err := net.InterfaceByIndex(one.Interface); err == nil {
				addr = addr.WithZone(link.Name)
			}
		}
		addrs = append(addrs, addr)
	}
	if len(addrs) == 0 {
		return nil, notFound(name)
	}
	return addrs, nil
}

// askLibrary asks the C library with getent(1).
func (s resolver) askLibrary(ctx context.Context, network, name string) ([]netip.Addr, error) {
	database := "ahostsv4"
	if network == "ip6" {
		database = "ahostsv6"
	}
	// Without -A, the library returns no addresses on a machine that only has loopback addresses.
	out, err := s.getentOutput(ctx, "-A", database, "--", name)
	if ended, ok := errors.AsType[*exec.ExitError](err); ok && ended.ExitCode() != 2 { // this version does not support -A
		out, err = s.getentOutput(ctx, database, "--", name)
	}
	if ended, ok := errors.AsType[*exec.ExitError](err); ok && ctx.Err() == nil && ended.ExitCode() == 2 {
		return nil, notFound(name)
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	var addrs []netip.Addr
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[1] != "STREAM" {
			continue
		}
		addr, err := netip.ParseAddr(fields[0])
		if err == nil && addr.Is4() == (network == "ip4") && !addr.Is4In6() {
			addrs = append(addrs, addr)
		}
	}
	if len(addrs) == 0 {
		return nil, notFound(name)
	}
	return addrs, nil
}

func (s resolver) getentOutput(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, s.getent, args...)
	cmd.WaitDelay = time.Second
	return cmd.Output()
}

// plainAfter is the time without an answer after which a name server is also asked without EDNS.
const plainAfter = time.Second

// withPlain calls ask with a net.Resolver. If that fails or takes long, it also calls ask with a resolver without
// EDNS (RFC 6891), for name servers that do not answer queries with EDNS, or answer them with an error. It returns the
// first good answer, or else the first error.
func withPlain[T any](ctx context.Context, ask func(context.Context, *net.Resolver) (T, error)) (T, error) {
	type result struct {
		answer T
		err    error
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan result, 2)
	start := func(r *net.Resolver) {
		// withPlain does not wait for the slower goroutine: net.Resolver ends some lookups only by its own
		// timeout of some seconds, and not when ctx is done.
		go func() {
			answer, err := ask(ctx, r)
			results <- result{answer, err}
		}()
	}
	start(new(net.Resolver))
	late := time.After(plainAfter)
	running, plain := 1, false
	var first *result
	for {
		select {
		case r := <-results:
			running--
			if dns, ok := errors.AsType[*net.DNSError](r.err); r.err == nil || ok && dns.IsNotFound || ctx.Err() != nil {
				return r.answer, r.err
			}
			if first == nil {
				first = &r
			}
		case <-late:
		case <-ctx.Done():
			var none T
			return none, ctx.Err()
		}
		if !plain {
			plain = true
			running++
			start(&net.Resolver{PreferGo: true, Dial: dialPlain})
		}
		if running == 0 {
			return first.answer, first.err
		}
	}
}

// dialPlain connects to a name server. The connection removes the EDNS record from queries.
func dialPlain(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	switch c := conn.(type) {
	case *net.UDPConn:
		return plainUDP{c}, nil
	case *net.TCPConn:
		return plainTCP{c}, nil
	}
	return conn, err
}

// A plainUDP sends messages without EDNS. It embeds a *net.UDPConn, so that the package net recognizes it as a
// packet connection.
type plainUDP struct{ *net.UDPConn }

// Write implements net.Conn.
func (c plainUDP) Write(message []byte) (int, error) {
	_, err := c.UDPConn.Write(withoutOPT(message))
	return len(message), err
}

// A plainTCP sends messages without EDNS.
type plainTCP struct{ *net.TCPConn }

// Write implements net.Conn. Over TCP, each message begins with its length.
func (c plainTCP) Write(b []byte) (int, error) {
	if len(b) < 2 {
		return c.TCPConn.Write(b)
	}
	message := withoutOPT(b[2:])
	framed := append([]byte{byte(len(message) >> 8), byte(len(message))}, message...)
	_, err := c.TCPConn.Write(framed)
	return len(b), err
}

// optSize is the length of an OPT record without options. optType is the type of an OPT record.
const (
	optSize = 11
	optType = 41
)

// withoutOPT returns a query without its OPT record. The package net puts it at the end, as the only additional
// record.
func withoutOPT(query []byte) []byte {
	n := len(query) - optSize
	if n < 12 || query[10] != 0 || query[11] != 1 || query[n] != 0 || query[n+1] != 0 || query[n+2] != optType {
		return query
	}
	plain := bytes.Clone(query[:n])
	plain[11] = 0
	return plain
}

// loopback has the addresses of localhost if no resolver has other ones, as in a container without /etc/hosts
// (RFC 6761, section 6.3).
var loopback = map[string]netip.Addr{
	"ip4": netip.AddrFrom4([4]byte{127, 0, 0, 1}),
	"ip6": netip.IPv6Loopback(),
}

func isLocalhost(name string) bool {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	return name == "localhost" || strings.HasSuffix(name, ".localhost")
}
