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
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		m.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour)}
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
