// Package settings builds the settings of the server from a configuration: the greeter, the admission of
// clients, timeouts and limits, and PROXY headers and TLS of each listener.
package settings

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"greetd.example/internal/access"
	"greetd.example/internal/certificate"
	"greetd.example/internal/config"
	"greetd.example/internal/credential"
	"greetd.example/internal/greeting"
	"greetd.example/internal/proxyproto"
	"greetd.example/internal/webconfig"
	"greetd.example/pkg/service"
	"greetd.example/pkg/systemd"
)

// Settings are the settings of one configuration. service.Server.Update replaces them in one step.
type Settings struct {
	Service   *service.Settings  // Admit is set by Admission
	Listeners []service.Listener // in the configuration's order, without net.Listener

	Certificates []*certificate.Pair // of the listeners with TLS

	Web            *webconfig.Config // requirements for admin clients over TCP; nil: none
	WebCertificate *certificate.Pair // the certificate of Web; nil if it has none

	list   *access.List // nil: everybody is admitted
	limits access.Limits
}

// TLS reports whether a listener has TLS.
func (s Settings) TLS() bool { return len(s.Certificates) > 0 }

// Admission sets Service.Admit, which checks the access lists and then sources. It gives sources the
// limits of these settings. sources is the same before and after a reload.
func (s Settings) Admission(sources *access.Sources) {
	sources.Update(s.limits)
	limited := s.limits.Connections > 0 || s.limits.Rate > 0
	switch {
	case s.list == nil && !limited:
		s.Service.Admit = nil
	case s.list == nil:
		s.Service.Admit = sources.Admit
	default:
		s.Service.Admit = func(p service.Peer) (func(), error) {
			if err := s.list.Check(p); err != nil {
				return nil, err
			}
			return sources.Admit(p)
		}
	}
}

// Load reads the configuration and builds its Settings. The error joins all problems, including those of
// certificates and of the greeting.
func Load(source config.Source) (loaded config.Loaded, s Settings, err error) {
	source.Check = func(c config.Config, wrong func(string, error)) { s = build(c, wrong) }
	loaded, err = config.Load(source)
	return loaded, s, err
}

func build(c config.Config, wrong func(key string, err error)) Settings {
	s := Settings{Service: &service.Settings{
		Greeter:          newGreeter(c, wrong),
		WriteTimeout:     c.Timeouts.Write,
		HandshakeTimeout: c.Timeouts.Handshake,
		LingerTimeout:    c.Timeouts.Linger,
		MaxConns:         c.Limits.Connections,
	}}
	greeting, isTemplate := s.Service.Greeter.(interface{ UsesLocal() bool })
	s.Service.OmitLocal = !isTemplate || !greeting.UsesLocal()
	if s.Service.LingerTimeout == 0 {
		s.Service.LingerTimeout = -1 // close at once
	}
	for i, l := range c.Listeners {
		if err := checkZone(l.Address); err != nil {
			wrong(fmt.Sprintf("listeners[%d].address", i), err)
		}
		s.Listeners = append(s.Listeners, service.Listener{
			Name:     l.Name,
			Unwrap:   proxyproto.Unwrap(l.ProxyTrusted),
			MaxConns: l.Connections,
			Deferred: clientsSpeakFirst(l) && c.Timeouts.Handshake >= 2*time.Second,
		})
		if pair := loadPair(fmt.Sprintf("listeners[%d].tls", i), l, wrong); pair != nil {
			s.Listeners[i].TLS = pair.Config()
			s.Certificates = append(s.Certificates, pair)
		}
	}
	s.Web, s.WebCertificate = loadWeb(c.Admin, wrong)
	if len(c.Access.Allow)+len(c.Access.Deny) > 0 {
		s.list = access.New(c.Access.Allow, c.Access.Deny)
	}
	s.limits = access.Limits{
		Connections: c.Limits.PerSource.Connections, Rate: c.Limits.PerSource.Rate, Burst: c.Limits.PerSource.Burst,
		IPv4Prefix: c.Limits.PerSource.IPv4Prefix, IPv6Prefix: c.Limits.PerSource.IPv6Prefix,
	}
	return s
}

// Doubts reports values in c that are valid, but probably not intended.
func Doubts(c config.Config, report func(key, doubt string)) {
	if strings.Contains(c.Greeting, `\n`) || strings.Contains(c.Greeting, `\t`) {
		report("greeting", "has a backslash and a letter, which clients get as they are: for a new line, write \\n in double quotes in YAML, "+
			"not in single ones; an environment variable needs a real one, as in $'...' of the shell, or greeting_file")
	}
	for i, l := range c.Listeners {
		path, isUnix := strings.CutPrefix(l.Address, "unix:")
		if hidden := systemd.HiddenBy(path); isUnix && hidden != "" {
			report(fmt.Sprintf("listeners[%d].address", i), fmt.Sprintf("%s is hidden by the unit's sandbox (%s), and nobody else sees the socket: use a path below /run/greetd", l.Address, hidden))
		}
	}
}

// checkZone returns an error for an address such as [fe80::1%eth0]:10000 if this machine does not
// have the interface.
func checkZone(address string) error {
	host, _, _ := net.SplitHostPort(address)
	ip, _ := netip.ParseAddr(host)
	if _, err := strconv.Atoi(ip.Zone()); ip.Zone() == "" || err == nil { // no zone, or an interface by its number
		return nil
	}
	if _, err := systemd.InterfaceNumber(ip.Zone()); err != nil {
		return fmt.Errorf("%q can't be bound: %w", address, err)
	}
	return nil
}

// clientsSpeakFirst reports whether every client of l must send data before it gets a greeting, because
// l has TLS, or because every peer that can connect must send a PROXY header.
func clientsSpeakFirst(l config.Listener) bool {
	if l.TLS.Certificate != "" {
		return true
	}
	host, _, _ := net.SplitHostPort(l.Address)
	ip, err := netip.ParseAddr(host)
	trusts := func(all string) bool {
		p := netip.MustParsePrefix(all)
		return slices.ContainsFunc(l.ProxyTrusted, func(t netip.Prefix) bool { return t.IsValid() && t.Bits() <= p.Bits() && t.Contains(p.Addr()) })
	}
	switch {
	case strings.HasPrefix(l.Address, "unix:"):
		return false
	case err == nil && ip.Is4() && ip.IsLoopback():
		return trusts("127.0.0.0/8")
	case err == nil && ip.Is4():
		return trusts("0.0.0.0/0")
	case err == nil && ip.IsLoopback():
		return trusts("::1/128")
	case err == nil:
		return trusts("::/0")
	}
	return trusts("0.0.0.0/0") && trusts("::/0")
}

// loadPair loads the certificate and the key of l. It returns nil if l has no TLS, or after a problem,
// which it reports to wrong. key is the key of the section tls of l.
func loadPair(key string, l config.Listener, wrong func(key string, err error)) *certificate.Pair {
	if l.TLS.Certificate == "" || l.TLS.Key == "" {
		return nil
	}
	pair, chainErr, keyErr := certificate.Load(l.Name, l.TLS.Certificate, l.TLS.Key)
	if chainErr != nil {
		wrong(key+".certificate", chainErr)
	}
	if keyErr != nil {
		wrong(key+".key", keyErr)
	}
	return pair
}

// adminListener is the Listener of the [certificate.Pair] of the admin address. No listener can have this
// name, since it has a space.
const adminListener = "admin address"

// AllCertificates returns the certificates of the listeners and of the admin address.
func (s Settings) AllCertificates() []*certificate.Pair {
	if s.WebCertificate == nil {
		return s.Certificates
	}
	return append(slices.Clone(s.Certificates), s.WebCertificate)
}

// loadWeb loads admin.web_config_file, and the certificate that it names. It returns nil for both if
// there is no such file to use, or after a problem, which it reports to wrong.
func loadWeb(a config.Admin, wrong func(key string, err error)) (*webconfig.Config, *certificate.Pair) {
	if a.WebConfigFile == "" || !a.OverTCP() {
		return nil, nil
	}
	const key = "admin.web_config_file"
	loaded, err := webconfig.Load(a.WebConfigFile)
	if err != nil {
		wrong(key, err)
		return nil, nil
	}
	if loaded.CertFile == "" {
		return loaded, nil
	}
	pair, chainErr, keyErr := certificate.Load(adminListener, loaded.CertFile, loaded.KeyFile)
	if err := cmp.Or(chainErr, keyErr); err != nil {
		wrong(key, fmt.Errorf("%s: %w", a.WebConfigFile, err))
		return nil, nil
	}
	loaded.ServeCertificate(pair.Config().GetCertificate)
	return loaded, pair
}

// newGreeter parses the template of greeting or greeting_file. It returns nil after a problem, which it
// reports to wrong.
func newGreeter(c config.Config, wrong func(key string, err error)) service.Greeter {
	key, text := "greeting", c.Greeting
	if c.GreetingFile != "" {
		content, err := credential.Read(c.GreetingFile, greeting.MaxLength)
		if err != nil {
			wrong("greeting_file", fmt.Errorf("%s %w", c.GreetingFile, err))
			return nil
		}
		key, text = "greeting_file", string(content)
	}
	greeter, err := greeting.Parse(text)
	if err != nil {
		wrong(key, err)
		return nil
	}
	if text, ok := greeter.Fixed(); ok {
		return text // one text for all visits, instead of a copy for each visit
	}
	return greeter
}
