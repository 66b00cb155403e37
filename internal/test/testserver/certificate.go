package testserver

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// An Authority signs certificates.
type Authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewAuthority makes an authority that signed itself.
func NewAuthority(tb testing.TB) *Authority {
	tb.Helper()
	return (*Authority)(nil).Sub(tb, &x509.Certificate{
		Subject: pkix.Name{CommonName: "Test CA"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(10, 0, 0),
	})
}

// Sub makes an authority that a has signed, as template says. A nil authority lets it sign itself.
func (a *Authority) Sub(tb testing.TB, template *x509.Certificate) *Authority {
	tb.Helper()
	template.IsCA, template.BasicConstraintsValid = true, true
	pair := a.Sign(tb, template)
	return &Authority{pair.Leaf, pair.PrivateKey.(*ecdsa.PrivateKey)}
}

// Raw is the authority's own certificate, for the chain of another one.
func (a *Authority) Raw() []byte { return a.cert.Raw }

// Pool holds the authority alone.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// WriteFile writes the authority's own certificate as PEM into dir.
func (a *Authority) WriteFile(tb testing.TB, dir string) (path string) {
	tb.Helper()
	return writePEM(tb, filepath.Join(dir, "ca.pem"), "CERTIFICATE", a.cert.Raw)
}

// Sign makes a certificate, valid from an hour ago for a day unless template says
// otherwise. A nil authority lets it sign itself.
func (a *Authority) Sign(tb testing.TB, template *x509.Certificate) tls.Certificate {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	template.SerialNumber = big.NewInt(1)
	if template.NotAfter.IsZero() {
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	}
	parent, signer := template, key
	if a != nil {
		parent, signer = a.cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		tb.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// WritePair writes a certificate and its key as PEM into dir.
func WritePair(tb testing.TB, dir string, pair tls.Certificate) (cert, key string) {
	tb.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		tb.Fatal(err)
	}
	cert = writePEM(tb, filepath.Join(dir, "cert.pem"), "CERTIFICATE", pair.Certificate[0])
	return cert, writePEM(tb, filepath.Join(dir, "key.pem"), "PRIVATE KEY", der)
}

func writePEM(tb testing.TB, path, kind string, der []byte) string {
	tb.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		tb.Fatal(err)
	}
	return path
}
