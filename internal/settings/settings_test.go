package settings

import (
	"crypto/x509"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"greetd.example/internal/access"
	"greetd.example/internal/config"
	"greetd.example/internal/test/testserver"
	"greetd.example/pkg/service"
)

func TestLoadBuildsWhatVisitsNeed(t *testing.T) {
	directory := t.TempDir()
	greeting := filepath.Join(directory, "greeting")
	write(t, greeting, "from {{.Listener}}\n")
	_, s := load(t, directory, `
listeners:
  - {name: plain, address: "127.0.0.1:10000"}
  - {name: proxied, address: "127.0.0.1:10001", proxy_trusted: [192.0.2.0/24]}
greeting_file: `+greeting+`
timeouts: {write: 2s, handshake: 4s, linger: 0s}
limits: {connections: 7}
`)
	if got := s.Service; got.WriteTimeout != 2*time.Second || got.HandshakeTimeout != 4*time.Second || got.LingerTimeout >= 0 || got.MaxConns != 7 {
		t.Errorf("%+v, want the file's timeouts and limits, and no lingering", got)
	}
	text, err := s.Service.Greeter.AppendGreeting(nil, service.Peer{Listener: "plain"})
	if err != nil || string(text) != "from plain\n" {
		t.Errorf("greeting = %q, %v", text, err)
	}
	if len(s.Listeners) != 2 || s.Listeners[0].Name != "plain" || s.Listeners[0].Unwrap != nil || s.Listeners[1].Unwrap == nil || s.TLS() {
		t.Errorf("%+v, want a plain listener, one with PROXY headers, and none with TLS", s.Listeners)
	}
}

// Only where no client may wait for a greeting in silence does the kernel wait for the client.
func TestDeferred(t *testing.T) {
	for _, test := range []struct {
		address, trusted string
		want             bool
	}{
		{":10000", "[]", false},
		{":10000", "[10.0.0.0/8]", false},
		{":10000", "[0.0.0.0/0]", false}, // and those with IPv6?
		{":10000", `[0.0.0.0/0, "::/0"]`, true},
		{"localhost:10000", `[127.0.0.0/8, "::1"]`, false},
		{"0.0.0.0:10000", "[0.0.0.0/0]", true},
		{"[::]:10000", `["::/0"]`, true},
		{"[::]:10000", "[0.0.0.0/0]", false},
		{"192.0.2.1:10000", "[192.0.2.0/24]", false},
		{"192.0.2.1:10000", "[0.0.0.0/0]", true},
		{"127.0.0.1:10000", "[127.0.0.1]", false},
		{"127.0.0.1:10000", "[127.0.0.0/8]", true},
		{"[::1]:10000", `["::1"]`, true},
		{"unix:/run/greetd/greet.sock", "[unix]", false},
	} {
		_, s := load(t, t.TempDir(), fmt.Sprintf("listeners: [{name: greet, address: %q, proxy_trusted: %s}]\n", test.address, test.trusted))
		if got := s.Listeners[0].Deferred; got != test.want {
			t.Errorf("%s, proxy_trusted %s: Deferred = %v", test.address, test.trusted, got)
		}
	}
	dir := t.TempDir()
	chain, key := testserver.WritePair(t, dir, testserver.NewAuthority(t).Sign(t, &x509.Certificate{DNSNames: []string{"greet.example"}}))
	_, s := load(t, dir, fmt.Sprintf("listeners: [{name: greet, address: ':10000', proxy_trusted: [10.0.0.1], tls: {certificate: %s, key: %s}}]\n", chain, key))
	if !s.Listeners[0].Deferred {
		t.Error("every client of a listener with TLS speaks first")
	}
	_, s = load(t, t.TempDir(), "listeners: [{name: greet, address: '127.0.0.1:10000', proxy_trusted: [127.0.0.0/8]}]\ntimeouts: {handshake: 1s}\n")
	if s.Listeners[0].Deferred {
		t.Error("a timeout of 1s leaves no second for the kernel to wait")
	}
}

// TestLoadHasEveryProblem: of the file, its template and its certificate at once.
func TestLoadHasEveryProblem(t *testing.T) {
	path := filepath.Join(t.TempDir(), "greetd.yaml")
	write(t, path, `
listeners: [{name: greet, address: "127.0.0.1:10000", tls: {certificate: /nowhere/c.pem, key: /nowhere/k.pem}}]
greeting: "{{.Nobody}}"
timeouts: {write: 5}
`)
	_, _, err := Load(config.Source{Path: path})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"listeners[0].tls.certificate: ", "listeners[0].tls.key: ", "greeting: ", "timeouts.write: "} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nlacks %s", err, want)
		}
	}
}

func TestAdmissionAsksListsAndLimits(t *testing.T) {
	near, far := peer("192.0.2.1"), peer("198.51.100.1")
	for name, tt := range map[string]struct {
		config               string
		none, near, far, two bool // no admission; who is admitted, and twice at once
	}{
		"all":    {"limits: {connections: 5}", true, true, true, true},
		"list":   {"access: {allow: [192.0.2.0/24]}", false, true, false, true},
		"limits": {"limits: {per_source: {connections: 1}}", false, true, true, false},
		"both":   {"access: {deny: [198.51.100.0/24]}\nlimits: {per_source: {connections: 1}}", false, true, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			_, s := load(t, t.TempDir(), tt.config)
			s.Admission(new(access.Sources))
			if (s.Service.Admit == nil) != tt.none {
				t.Fatalf("Admit is nil: %v, want %v", s.Service.Admit == nil, tt.none)
			}
			if tt.none {
				return
			}
			if _, err := s.Service.Admit(far); (err == nil) != tt.far {
				t.Errorf("the far one: %v", err)
			}
			leave, err := s.Service.Admit(near)
			if (err == nil) != tt.near {
				t.Fatalf("the near one: %v", err)
			}
			if _, err := s.Service.Admit(near); (err == nil) != tt.two {
				t.Errorf("the near one again: %v", err)
			}
			if leave != nil {
				leave()
			}
		})
	}
}

func peer(ip string) service.Peer {
	return service.Peer{Remote: netip.AddrPortFrom(netip.MustParseAddr(ip), 40000)}
}

func load(t *testing.T, directory, text string) (config.Loaded, Settings) {
	t.Helper()
	path := filepath.Join(directory, "greetd.yaml")
	write(t, path, text)
	loaded, s, err := Load(config.Source{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	return loaded, s
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
