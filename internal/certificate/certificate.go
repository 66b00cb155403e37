// Package certificate reads certificates and keys for TLS, and says what is wrong with
// them in a sentence with its remedy.
package certificate

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"

	"greetd.example/internal/credential"
)

// Load reads a chain and its key, each from where [credential.Read] finds it. chainErr and
// keyErr say what is wrong with which of the files; the configuration is nil then.
func Load(chainFile, keyFile string) (c *tls.Config, chainErr, keyErr error) {
	chain, chainErr := read(chainFile, checkChain)
	key, keyErr := read(keyFile, checkKey)
	if chainErr != nil || keyErr != nil {
		return nil, chainErr, keyErr
	}
	pair, err := tls.X509KeyPair(chain, key)
	switch {
	case err == nil:
		return &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}, nil, nil
	case strings.Contains(err.Error(), "does not match"):
		return nil, nil, fmt.Errorf("%s does not belong to the first certificate in %s: name the key of that one; a chain begins with the server's own certificate", keyFile, chainFile)
	default:
		return nil, nil, fmt.Errorf("%s is no use with %s: %w", keyFile, chainFile, err)
	}
}

func read(file string, check func([]byte) error) ([]byte, error) {
	data, err := credential.Read(file, maxPEM)
	if err == nil {
		err = check(data)
	}
	if err != nil {
		return nil, fmt.Errorf("%s %w", file, err)
	}
	return data, nil
}

// maxPEM is far more than any chain has.
const maxPEM = 1 << 20

// checkChain says what is in a file instead of a certificate.
func checkChain(data []byte) error {
	blocks := blockTypes(data)
	switch {
	case blocks["CERTIFICATE"]:
		return nil
	case isKey(blocks):
		return errors.New("holds a private key and no certificate: are certificate and key swapped?")
	case len(blocks) > 0:
		return errors.New("holds no certificate: there must be a line -----BEGIN CERTIFICATE-----")
	}
	return errors.New("is not PEM: there must be a line -----BEGIN CERTIFICATE----- (openssl x509 -inform DER makes it from DER)")
}

// checkKey says what is in a file instead of a key that can be used.
func checkKey(data []byte) error {
	blocks := blockTypes(data)
	switch {
	case blocks["ENCRYPTED PRIVATE KEY"]:
		return errors.New("is encrypted, and nobody is there to type the passphrase: write it without one (openssl pkey -in FILE -out FILE2), and guard it by its mode or as a credential")
	case isKey(blocks):
		return nil
	case blocks["CERTIFICATE"]:
		return errors.New("holds a certificate and no private key: are certificate and key swapped?")
	case len(blocks) > 0:
		return errors.New("holds no private key: there must be a line -----BEGIN PRIVATE KEY-----")
	}
	return errors.New("is not PEM: there must be a line -----BEGIN PRIVATE KEY----- (openssl pkey -inform DER makes it from DER)")
}

func isKey(blocks map[string]bool) bool {
	for name := range blocks {
		if name == "PRIVATE KEY" || strings.HasSuffix(name, " PRIVATE KEY") {
			return true
		}
	}
	return false
}

// blockTypes are the types of the PEM blocks in data. A key that is encrypted in the
// old way (RFC 1421) counts as one of the new (RFC 7468).
func blockTypes(data []byte) map[string]bool {
	blocks := make(map[string]bool)
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if strings.HasSuffix(block.Headers["Proc-Type"], "ENCRYPTED") {
			block.Type = "ENCRYPTED PRIVATE KEY"
		}
		blocks[block.Type] = true
	}
	return blocks
}

// Of returns the server's own certificate of a configuration that Load returned.
func Of(c *tls.Config) *x509.Certificate { return c.Certificates[0].Leaf }

// Untimely says why c is not valid at that time, and what to do; "" if it is valid.
func Untimely(c *x509.Certificate, now time.Time) string {
	switch {
	case now.After(c.NotAfter):
		return fmt.Sprintf("expired at %s, and clients will not trust it: renew it and reload", c.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(c.NotBefore):
		return fmt.Sprintf("is not valid before %s, and clients will not trust it until then: is the clock right?", c.NotBefore.UTC().Format(time.RFC3339))
	}
	return ""
}
