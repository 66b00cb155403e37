package certificate

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var made = time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)

// pair writes a certificate that is valid for an hour, and its key.
func pair(t *testing.T) (chain, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: made, NotAfter: made.Add(time.Hour)}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return file(t, pemOf("CERTIFICATE", certificate)), file(t, pemOf("PRIVATE KEY", encoded))
}

func pemOf(name string, content []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: name, Bytes: content}))
}

func file(t *testing.T, content string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file.pem")
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestLoad(t *testing.T) {
	chain, key := pair(t)
	c, chainErr, keyErr := Load("safe", chain, key)
	if chainErr != nil || keyErr != nil {
		t.Fatal(chainErr, keyErr)
	}
	if !c.Served().NotBefore.Equal(made) {
		t.Errorf("another certificate: %v", c.Served().NotBefore)
	}
	for at, want := range map[time.Duration]string{-time.Second: "is not valid before 2026-03-01T12:00:00Z", 0: "", time.Hour: "", time.Hour + time.Second: "expired at 2026-03-01T13:00:00Z"} {
		if got := Untimely(c.Served(), made.Add(at)); !strings.HasPrefix(got, want) || want == "" && got != "" {
			t.Errorf("%v after it was made: %q, want %q", at, got, want)
		}
	}
}

// Each mistake is an error of the file that has it, and nothing is loaded.
func TestLoadRefuses(t *testing.T) {
	chain, key := pair(t)
	_, otherKey := pair(t)
	other, absent := file(t, pemOf("PUBLIC KEY", nil)), filepath.Join(t.TempDir(), "absent.pem")
	encrypted, old := file(t, pemOf("ENCRYPTED PRIVATE KEY", nil)), file(t, "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END RSA PRIVATE KEY-----\n")
	for _, test := range []struct{ chain, key, chainErr, keyErr string }{
		{key, chain, "are certificate and key swapped", "are certificate and key swapped"},
		{file(t, "\x30\x82"), file(t, ""), "openssl x509 -inform DER", "openssl pkey -inform DER"},
		{other, other, "-----BEGIN CERTIFICATE-----", "-----BEGIN PRIVATE KEY-----"},
		{chain, encrypted, "", "is encrypted"},
		{chain, old, "", "is encrypted"},
		{chain, otherKey, "", "does not belong to the first certificate in " + chain},
		{absent, key, "does not exist", ""},
		{chain, absent, "", "does not exist"},
		{absent, chain, "does not exist", "are certificate and key swapped"},
		{file(t, strings.Repeat("#", maxPEM+1)), key, "has more than 1048576 bytes", ""},
	} {
		c, chainErr, keyErr := Load("safe", test.chain, test.key)
		if c != nil {
			t.Errorf("%+v was loaded", test)
		}
		says(t, chainErr, test.chain, test.chainErr)
		says(t, keyErr, test.key, test.keyErr)
	}
}

// says wants an error about a file with some words, or none.
func says(t *testing.T, err error, file, words string) {
	t.Helper()
	switch {
	case words == "" && err != nil:
		t.Errorf("%s: %v", file, err)
	case words != "" && (err == nil || !strings.HasPrefix(err.Error(), file+" ") || !strings.Contains(err.Error(), words)):
		t.Errorf("error %v, want %q about %s", err, words, file)
	}
}
