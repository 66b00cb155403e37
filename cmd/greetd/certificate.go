package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"

	"greetd.example/internal/config"
	"greetd.example/pkg/service"
)

// newTLS loads the pair of the listener with that key, as it is now. It is nil for a
// listener without TLS, and where something is wrong.
func newTLS(key string, t config.TLS, wrong func(key string, err error)) *tls.Config {
	if t.Certificate == "" || t.Key == "" {
		return nil
	}
	chain, chainErr := readNamed(t.Certificate, mostPEM)
	private, privateErr := readNamed(t.Key, mostPEM)
	if chainErr != nil {
		wrong(key+".tls.certificate", fmt.Errorf("%s %w", t.Certificate, chainErr))
	}
	if privateErr != nil {
		wrong(key+".tls.key", fmt.Errorf("%s %w", t.Key, privateErr))
	}
	if chainErr != nil || privateErr != nil {
		return nil
	}
	if err := hasCertificate(chain); err != nil {
		wrong(key+".tls.certificate", fmt.Errorf("%s %w", t.Certificate, err))
		chainErr = err
	}
	if err := hasKey(private); err != nil {
		wrong(key+".tls.key", fmt.Errorf("%s %w", t.Key, err))
		privateErr = err
	}
	if chainErr != nil || privateErr != nil {
		return nil
	}
	pair, err := tls.X509KeyPair(chain, private)
	switch {
	case err == nil:
		return &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	case strings.Contains(err.Error(), "does not match"):
		err = fmt.Errorf("%s does not belong to the first certificate in %s: name the key of that one; a chain begins with the server's own certificate", t.Key, t.Certificate)
	default:
		err = fmt.Errorf("%s is no use with %s: %w", t.Key, t.Certificate, err)
	}
	wrong(key+".tls.key", err)
	return nil
}

// mostPEM is far more than any chain has.
const mostPEM = 1 << 20

// hasCertificate tells what is in a file instead of a certificate.
func hasCertificate(data []byte) error {
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

// hasKey tells what is in a file instead of a key that can be used.
func hasKey(data []byte) error {
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

// renewed names what a reload has changed without a change in the configuration: the
// certificates of listeners that had another one before.
func renewed(before, after []service.Listener) (changed []string) {
	for _, old := range before {
		for _, l := range after {
			if l.Name == old.Name && l.TLS != nil && old.TLS != nil && !leaf(l).Equal(leaf(old)) {
				changed = append(changed, "the certificate of listener "+l.Name)
			}
		}
	}
	return changed
}

func leaf(l service.Listener) *x509.Certificate { return l.TLS.Certificates[0].Leaf }

// untimely says that c is not valid at that time, and what to do; "" if it is.
func untimely(c *x509.Certificate, now time.Time) string {
	switch {
	case now.After(c.NotAfter):
		return fmt.Sprintf("expired at %s, and clients will not trust it: renew it and reload", c.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(c.NotBefore):
		return fmt.Sprintf("is not valid before %s, and clients will not trust it until then: is the clock right?", c.NotBefore.UTC().Format(time.RFC3339))
	}
	return ""
}
