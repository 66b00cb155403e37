package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"
)

// tlsListener is a configuration with a certificate from credentials of these names.
const tlsListener = `listeners: [{name: safe, address: ":10000", tls: {certificate: tls.pem, key: tls.key}}]`

func TestCertificateFromCredentials(t *testing.T) {
	for _, mode := range modes {
		t.Run(mode.name, func(t *testing.T) {
			onEachSystemd(t, func(m *machine) {
				mode.prepare(m)
				if mode.unit == "greetd.socket" {
					m.dropIn(mode.unit, "[Socket]", "FileDescriptorName=safe")
				}
				certificate(m, "/etc/ssl/greetd")
				m.configure(tlsListener)
				m.dropIn("greetd.service", "[Service]", "LoadCredential=tls.pem:/etc/ssl/greetd.pem", "LoadCredential=tls.key:/etc/ssl/greetd.key")
				m.run("systemctl", "start", mode.unit)
				m.greetedOverTLS()
				m.run("systemctl", "reload", "greetd")
				m.greetedOverTLS()
				m.run("systemctl", "restart", "greetd")
				m.greetedOverTLS()
			})
		})
	}
}

func TestKeyOfRootsAloneIsExplained(t *testing.T) {
	onEachSystemd(t, func(m *machine) {
		certificate(m, "/etc/ssl/greetd")
		m.configure(strings.NewReplacer("tls.pem", "/etc/ssl/greetd.pem", "tls.key", "/etc/ssl/greetd.key").Replace(tlsListener))
		_, _ = m.try("systemctl", "start", "greetd")
		m.eventually("it says what to do", func() bool {
			out := m.run("journalctl", "--no-pager", "--unit=greetd")
			return strings.Contains(out, "LoadCredential=greetd.key:/etc/ssl/greetd.key")
		})
		m.run("systemctl", "stop", "greetd")
	})
}

// certificate makes path.pem, and path.key that root alone can read.
func certificate(m *machine, path string) {
	m.Helper()
	certificateFor(m, path, time.Hour)
}

// certificateFor is certificate with one that expires in left.
func certificateFor(m *machine, path string, left time.Duration) {
	m.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		m.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(left)}
	chain, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		m.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		m.Fatal(err)
	}
	m.write(path+".pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: chain})))
	m.write(path+".key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
	m.run("chmod", "600", path+".key")
}

// greetedOverTLS fails the test unless a client that speaks TLS is greeted.
func (m *machine) greetedOverTLS() {
	m.Helper()
	c, err := m.dial("tcp", overIPv4)
	if err != nil {
		m.Fatal(err)
	}
	defer c.Close()
	text, err := io.ReadAll(tls.Client(c, &tls.Config{InsecureSkipVerify: true}))
	if err != nil || string(text) != hello {
		m.Fatalf("over TLS a client got %q, %v; want %q", text, err, hello)
	}
}

// A certificate that a listener serves from files is renewed under the sandbox without a reload, and
// one from credentials is not: reload and doctor say so, and doctor's remedy renews it.
func TestRenewedCertificates(t *testing.T) {
	onEachSystemd(t, func(m *machine) {
		certificate(m, "/etc/ssl/greetd")
		m.run("chmod", "644", "/etc/ssl/greetd.key")
		m.configure(strings.NewReplacer("tls.pem", "/etc/ssl/greetd.pem", "tls.key", "/etc/ssl/greetd.key").Replace(tlsListener))
		m.run("systemctl", "start", "greetd")
		before := m.serves()
		certificate(m, "/etc/ssl/next")
		m.run("chmod", "644", "/etc/ssl/next.key")
		m.run("mv", "/etc/ssl/next.key", "/etc/ssl/greetd.key")
		m.run("mv", "/etc/ssl/next.pem", "/etc/ssl/greetd.pem")
		m.eventually("the renewed certificate is served", func() bool { return m.serves() != before })
		if entries := m.journal("MESSAGE_ID=d43684e876b24dedb1dfdb9725964cf5"); len(entries) != 1 || entries[0]["GREETD_LISTENER"] != "safe" {
			m.Errorf("the journal has %v", entries)
		}

		m.configure(tlsListener)
		credentials := []string{"[Service]", "LoadCredential=tls.pem:/etc/ssl/greetd.pem", "LoadCredential=tls.key:/etc/ssl/greetd.key"}
		m.dropIn("greetd.service", credentials...)
		m.run("systemctl", "restart", "greetd")
		before = m.serves()
		refreshes := m.release.systemd >= "260" // RefreshOnReload=
		remedy := "to renew it: systemctl restart greetd.service"
		if refreshes {
			remedy = "to renew it: systemctl edit greetd.service: [Service] RefreshOnReload=credentials"
		}
		for _, f := range m.doctor() {
			if f.Check == "certificates" && f.Verdict == "problem" {
				m.Errorf("before: %+v", f)
			}
		}
		certificate(m, "/etc/ssl/greetd")
		m.run("systemctl", "reload", "greetd")
		if out := m.run("journalctl", "-u", "greetd", "-n", "20"); m.serves() != before || !strings.Contains(out, "credential tls.pem is not what /etc/ssl/greetd.pem is now") ||
			!strings.Contains(out, remedy) {
			m.Errorf("the reload does not say that the credential is stale:\n%s", out)
		}
		found := m.doctor()
		i := slices.IndexFunc(found, func(f finding) bool {
			return f.Check == "certificates" && f.Verdict == "problem" && strings.Contains(f.Found, "tls.pem")
		})
		if i < 0 {
			m.Fatalf("doctor does not say that the credential is stale: %+v", found)
		}
		if refreshes { // the remedy is for an editor
			m.followExample("refresh-credentials.conf")
			m.run("systemctl", "restart", "greetd")
		} else {
			m.run("sh", "-c", found[i].Remedy)
		}
		if m.serves() == before {
			m.Errorf("%q renewed nothing", found[i].Remedy)
		}
		for _, f := range m.doctor() {
			if f.Check == "certificates" && f.Verdict == "problem" {
				m.Errorf("after the remedy: %+v", f)
			}
		}
		if refreshes {
			before = m.serves()
			certificate(m, "/etc/ssl/greetd")
			m.run("systemctl", "reload", "greetd")
			m.eventually("the reload renews the credential", func() bool { return m.serves() != before })
		}
	})
}

// serves returns the certificate that a client gets.
func (m *machine) serves() (raw string) {
	m.Helper()
	c, err := m.dial("tcp", overIPv4)
	if err != nil {
		m.Fatal(err)
	}
	defer c.Close()
	client := tls.Client(c, &tls.Config{InsecureSkipVerify: true})
	if err := client.Handshake(); err != nil {
		m.Fatal(err)
	}
	return string(client.ConnectionState().PeerCertificates[0].Raw)
}
