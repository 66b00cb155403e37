package probe_test

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"greetd.example/internal/test/testserver"
	"greetd.example/pkg/probe"
)

var local = []net.IP{net.IPv4(127, 0, 0, 1)}

func named(name string) *x509.Certificate {
	return &x509.Certificate{Subject: pkix.Name{CommonName: name}, IPAddresses: local}
}

// chained is a certificate with the certificates of its issuers, as a server sends them.
func chained(cert tls.Certificate, issuers ...*testserver.Authority) tls.Certificate {
	for _, issuer := range issuers {
		cert.Certificate = append(cert.Certificate, issuer.Raw())
	}
	return cert
}

// TestCertificateReasons has a reason of its own for each way in which a chain can be
// broken, and the first certificate of it to expire.
func TestCertificateReasons(t *testing.T) {
	root := testserver.NewAuthority(t)
	soon := time.Now().Add(2 * time.Hour).Truncate(time.Second).UTC()
	between := root.Sub(t, &x509.Certificate{Subject: pkix.Name{CommonName: "Between"}, NotBefore: soon.Add(-24 * time.Hour), NotAfter: soon})
	past := time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
	expired := root.Sub(t, &x509.Certificate{Subject: pkix.Name{CommonName: "Past"}, NotBefore: past.Add(-time.Hour), NotAfter: past})
	stranger := (*testserver.Authority)(nil).Sub(t, &x509.Certificate{Subject: pkix.Name{CommonName: "Stranger"}})
	strange := stranger.Sub(t, &x509.Certificate{Subject: pkix.Name{CommonName: "Strange"}})
	trust := &tls.Config{RootCAs: root.Pool()}
	for _, test := range []struct {
		name   string
		cert   tls.Certificate
		config *tls.Config
		host   string
		err    string
		first  string // to expire
	}{
		{"intermediate", chained(between.Sign(t, named("leaf")), between), trust, "", "", "CN=Between"},
		{"intermediate, and one too many", chained(between.Sign(t, named("leaf")), strange, between), trust, "", "", "CN=Between"},
		{"intermediate missing", between.Sign(t, named("leaf")), trust, "", "the certificate is signed by an unknown authority, CN=Between", "CN=leaf"},
		{"intermediate expired", chained(expired.Sign(t, named("leaf")), expired), trust, "", "the certificate of its issuer CN=Past expired at 2020-01-02T03:04:05Z", "CN=Past"},
		{"root unknown", chained(strange.Sign(t, named("leaf")), strange), trust, "", "the certificate is signed by CN=Strange, and that by an unknown authority, CN=Stranger", "CN=leaf"},
		{"root unknown, and an expired one too many", chained(strange.Sign(t, named("leaf")), expired, strange), trust, "", "the certificate is signed by CN=Strange, and that by an unknown authority, CN=Stranger", "CN=leaf"},
		{"root unknown, and sent", chained(strange.Sign(t, named("leaf")), strange, stranger), trust, "", "the certificate is signed by an unknown authority, CN=Stranger, whose own certificate the server sent", "CN=leaf"},
		{"name in CN", root.Sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: "mail.example"}}), trust, "mail.example", "the certificate has the name mail.example only as its common name (CN), which counts no longer: it needs a subjectAltName", "CN=mail.example"},
		{"another name in CN", root.Sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: "www.example"}}), trust, "mail.example", "the certificate is for CN=www.example, not for mail.example", "CN=www.example"},
		{"not for servers", root.Sign(t, &x509.Certificate{IPAddresses: local, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}), trust, "", "the certificate, or one of its issuers, is not for servers: its extended key usage lacks server authentication", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := testserver.Listen(t, over(test.cert, testserver.Greet("hi\n")))
			target := parse(t, server.Addr)
			if test.host != "" {
				target.Host = test.host
			}
			p := probe.Probe{TLS: test.config, Read: time.Second}
			r := p.Do(t.Context(), target)
			got := ""
			if r.Err != nil {
				got = r.Err.Error()
			}
			if got != test.err || (r.Status == probe.OK) != (test.err == "") {
				t.Errorf("%s %q, want %q", r.Status, got, test.err)
			}
			if r.TLS.ChainSubject != test.first && test.first != "CN=leaf" {
				t.Errorf("%q expires first, want %q", r.TLS.ChainSubject, test.first)
			}
			if test.first == "CN=Between" && !r.TLS.ChainNotAfter.Equal(soon) {
				t.Errorf("the chain ends at %s, want %s", r.TLS.ChainNotAfter, soon)
			}
		})
	}
}

// Where there is no name, no certificate is good.
func TestNoNameNoTrust(t *testing.T) {
	root := testserver.NewAuthority(t)
	server := testserver.ListenOn(t, "unix", t.TempDir()+"/s", over(root.Sign(t, named("x")), testserver.Greet("hi\n")))
	p := probe.Probe{TLS: &tls.Config{RootCAs: root.Pool()}}
	r := p.Do(t.Context(), parse(t, "unix:"+server.Addr))
	if r.Status != probe.TLSFailed || r.TLS.Verified || !strings.Contains(r.Err.Error(), "no name to hold the certificate against") {
		t.Errorf("%s %v %+v", r.Status, r.Err, r.TLS)
	}
}

// One certificate with thousands of names is no page of diagnostics.
func TestErrorsAreBounded(t *testing.T) {
	root := testserver.NewAuthority(t)
	var many []string
	for i := range 2000 {
		many = append(many, fmt.Sprintf("host-%d.example", i))
	}
	server := testserver.Listen(t, over(root.Sign(t, &x509.Certificate{DNSNames: many}), testserver.Silent))
	p := probe.Probe{TLS: &tls.Config{RootCAs: root.Pool()}}
	r := p.Do(t.Context(), parse(t, server.Addr))
	if r.Status != probe.TLSFailed || len(r.Err.Error()) > 1000 || !strings.Contains(r.Err.Error(), "and 1992 more, not for 127.0.0.1") {
		t.Errorf("%s %v", r.Status, r.Err)
	}
}

// requiring wants a client certificate of root.
func requiring(root *testserver.Authority, version uint16, cert tls.Certificate, behavior testserver.Behavior) testserver.Behavior {
	return func(c net.Conn) {
		secure := tls.Server(c, &tls.Config{
			Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: root.Pool(), MaxVersion: version,
		})
		if secure.Handshake() == nil {
			behavior(secure)
			secure.Close()
		}
	}
}

// TLS 1.3 refuses a client without certificate after its handshake: nothing is OK
// before that.
func TestClientCertificates(t *testing.T) {
	root := testserver.NewAuthority(t)
	cert := root.Sign(t, named("server"))
	mine := root.Sign(t, &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	wrong := testserver.NewAuthority(t).Sign(t, &x509.Certificate{})
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, connectOnly := range []bool{false, true} {
			for _, test := range []struct {
				name   string
				certs  []tls.Certificate
				status probe.Status
				err    string
			}{
				{"good", []tls.Certificate{mine}, probe.OK, ""},
				{"none", nil, probe.TLSFailed, "; it asked for a client certificate, and there is none"},
				{"wrong", []tls.Certificate{wrong}, probe.TLSFailed, "; that is about the client certificate that it asked for and got"},
			} {
				server := testserver.Listen(t, requiring(root, version, cert, testserver.Greet("hi\n")))
				p := probe.Probe{TLS: &tls.Config{RootCAs: root.Pool(), Certificates: test.certs}, ConnectOnly: connectOnly}
				r := p.Do(t.Context(), parse(t, server.Addr))
				if r.Status != test.status || test.err != "" && !strings.Contains(r.Err.Error(), test.err) {
					t.Errorf("%s, %s, connect only %v: %s %v", tls.VersionName(version), test.name, connectOnly, r.Status, r.Err)
				}
			}
		}
	}
}

// An old server is probed, and what is old is said.
func TestOldServers(t *testing.T) {
	root := testserver.NewAuthority(t)
	cert := root.Sign(t, named("server"))
	for _, test := range []struct {
		server *tls.Config
		old    string
	}{
		{&tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10}, "TLS 1.0 (RFC 8996)"},
		{&tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, "TLS 1.1 (RFC 8996)"},
		{&tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_RC4_128_SHA}}, "cipher suite TLS_ECDHE_ECDSA_WITH_RC4_128_SHA"},
		{&tls.Config{MaxVersion: tls.VersionTLS12}, ""},
		{&tls.Config{}, ""},
	} {
		server := testserver.Listen(t, func(c net.Conn) {
			test.server.Certificates = []tls.Certificate{cert}
			testserver.Greet("hi\n")(tls.Server(c, test.server))
		})
		p := probe.Probe{TLS: &tls.Config{
			RootCAs: root.Pool(), MinVersion: tls.VersionTLS10,
			CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_RC4_128_SHA, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA},
		}}
		r := p.Do(t.Context(), parse(t, server.Addr))
		if got := strings.Join(r.TLS.Old, ", "); r.Status != probe.OK || got != test.old {
			t.Errorf("%s %v, old %q, want %q", r.Status, r.Err, got, test.old)
		}
	}
	server := testserver.Listen(t, over(cert, testserver.Silent))
	p := probe.Probe{TLS: &tls.Config{RootCAs: root.Pool(), MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}}
	if r := p.Do(t.Context(), parse(t, server.Addr)); r.Status != probe.TLSFailed || r.Err.Error() != "the server refused the TLS handshake: protocol version not supported; it speaks none of TLS 1.0, TLS 1.1" {
		t.Errorf("%s %v", r.Status, r.Err)
	}
}
