// Package certificate reads certificates and keys for TLS. Its errors are sentences with a remedy.
package certificate

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"

	"greetd.example/internal/credential"
)

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

// maxPEM is the maximum size of a file. It is far more than any chain needs.
const maxPEM = 1 << 20

// checkChain returns an error if data has no certificate. The error says what data has instead.
func checkChain(data []byte) error {
	blocks := blockTypes(data)
	switch {
	case blocks["CERTIFICATE"]:
		return nil
	case blocks["PRIVATE KEY"]:
		return errors.New("holds a private key and no certificate: are certificate and key swapped?")
	case len(blocks) > 0:
		return errors.New("holds no certificate: there must be a line -----BEGIN CERTIFICATE-----")
	}
	return errors.New("is not PEM: there must be a line -----BEGIN CERTIFICATE----- (openssl x509 -inform DER makes it from DER)")
}

// checkKey returns an error if data has no usable private key. The error says what data has instead.
func checkKey(data []byte) error {
	blocks := blockTypes(data)
	switch {
	case blocks["ENCRYPTED PRIVATE KEY"]:
		return errors.New("is encrypted, and greetd cannot ask for the passphrase: write it without one (openssl pkey -in FILE -out FILE2), and protect it by its mode or as a credential")
	case blocks["PRIVATE KEY"]:
		return nil
	case blocks["CERTIFICATE"]:
		return errors.New("holds a certificate and no private key: are certificate and key swapped?")
	case len(blocks) > 0:
		return errors.New("holds no private key: there must be a line -----BEGIN PRIVATE KEY-----")
	}
	return errors.New("is not PEM: there must be a line -----BEGIN PRIVATE KEY----- (openssl pkey -inform DER makes it from DER)")
}

// blockTypes returns the types of the PEM blocks in data. Every private key also has the type PRIVATE KEY. A key that
// is encrypted in the old format (RFC 1421) has the type of the new format (RFC 7468).
func blockTypes(data []byte) map[string]bool {
	blocks := make(map[string]bool)
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if strings.HasSuffix(block.Headers["Proc-Type"], "ENCRYPTED") {
			block.Type = "ENCRYPTED PRIVATE KEY"
		}
		blocks[block.Type] = true
		if strings.HasSuffix(block.Type, " PRIVATE KEY") {
			blocks["PRIVATE KEY"] = true
		}
	}
	return blocks
}

// Untimely returns the reason why c is not valid at the time now, with a remedy. It returns "" if c is valid.
func Untimely(c *x509.Certificate, now time.Time) string {
	switch {
	case now.After(c.NotAfter):
		return fmt.Sprintf("expired at %s, and clients will not trust it: renew it", c.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(c.NotBefore):
		return fmt.Sprintf("is not valid before %s, and clients will not trust it until then: is the clock right?", c.NotBefore.UTC().Format(time.RFC3339))
	}
	return ""
}
