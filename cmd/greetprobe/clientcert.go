package main

import (
	"cmp"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strings"
)

// setCertificate reads the certificate and the key of the client into config.
func (f *probeFlags) setCertificate(config *tls.Config) error {
	if f.cert == "" {
		if f.key != "" {
			return errors.New("--key needs --cert")
		}
		return nil
	}
	cert, err := os.ReadFile(f.cert)
	if err != nil {
		return fmt.Errorf("--cert: %w", err)
	}
	key := cert // the same content: the file is read only once, since it can be a pipe
	if f.key != "" {
		if key, err = os.ReadFile(f.key); err != nil {
			return fmt.Errorf("--key: %w", err)
		}
	}
	if err := f.checkPair(cert, key); err != nil {
		return err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil && strings.Contains(err.Error(), "does not match") {
		return fmt.Errorf("--cert %s: its first certificate is not that of the private key in %s", f.cert, cmp.Or(f.key, f.cert))
	}
	if err != nil {
		return fmt.Errorf("--cert %s: %s", f.cert, strings.TrimPrefix(strings.TrimPrefix(err.Error(), "tls: "), "x509: "))
	}
	config.Certificates = []tls.Certificate{pair}
	return nil
}

// checkPair returns an error that names the wrong file, --cert or --key, for problems whose errors from
// crypto/tls do not name the file.
func (f *probeFlags) checkPair(cert, key []byte) error {
	certBlock := pemBlock(cert, func(kind string) bool { return kind == "CERTIFICATE" })
	keyBlock := pemBlock(key, func(kind string) bool { return kind == "PRIVATE KEY" || strings.HasSuffix(kind, " PRIVATE KEY") })
	file := "--key " + f.key
	if f.key == "" {
		file = "--cert " + f.cert
	}
	switch {
	case certBlock == nil:
		return fmt.Errorf("--cert %s: no certificate in it (PEM)", f.cert)
	case keyBlock == nil && f.key == "":
		return fmt.Errorf("--cert %s: no private key in it (PEM): give it with --key FILE", f.cert)
	case keyBlock == nil:
		return fmt.Errorf("%s: no private key in it (PEM)", file)
	case keyBlock.Type == "ENCRYPTED PRIVATE KEY", strings.Contains(keyBlock.Headers["Proc-Type"], "ENCRYPTED"):
		return fmt.Errorf("%s: the private key is encrypted, and greetprobe asks for no passphrase: decrypt it with openssl pkey -in %s -out FILE", file, cmp.Or(f.key, f.cert))
	}
	return nil
}

// pemBlock returns the first PEM block of text whose type is wanted; nil if there is none.
func pemBlock(text []byte, wanted func(kind string) bool) *pem.Block {
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil || wanted(block.Type) {
			return block
		}
	}
}
