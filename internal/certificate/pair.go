package certificate

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
)

// A Pair is a certificate and its key, in two files that can be renewed while they are served. Its methods may be
// called concurrently.
type Pair struct {
	Listener  string // the name of the listener that serves it
	ChainFile string // the file of the certificate: a path for [credential.Read]
	KeyFile   string

	loaded *x509.Certificate // the certificate that Load has read
	served atomic.Pointer[tls.Certificate]

	mu      sync.Mutex
	content [sha256.Size]byte // hash of both files, with the content that is served
}

// Load reads the pair of a listener. chainErr and keyErr are the problems of the two files. If there is one, the pair
// is nil.
func Load(listener, chainFile, keyFile string) (p *Pair, chainErr, keyErr error) {
	p = &Pair{Listener: listener, ChainFile: chainFile, KeyFile: keyFile}
	if _, chainErr, keyErr = p.load(); chainErr != nil || keyErr != nil {
		return nil, chainErr, keyErr
	}
	p.loaded = p.Served()
	return p, nil, nil
}

// Renew reads the files again, and serves them if they are a valid pair. renewed reports whether the served pair has
// changed. If there is an error, it has not.
func (p *Pair) Renew() (renewed bool, err error) {
	renewed, chainErr, keyErr := p.load()
	return renewed, errors.Join(chainErr, keyErr)
}

func (p *Pair) load() (changed bool, chainErr, keyErr error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	chain, chainErr := read(p.ChainFile, checkChain)
	key, keyErr := read(p.KeyFile, checkKey)
	if chainErr != nil || keyErr != nil {
		return false, chainErr, keyErr
	}
	content := sha256.Sum256(bytes.Join([][]byte{chain, key}, []byte{0}))
	if p.served.Load() != nil && content == p.content {
		return false, nil, nil
	}
	pair, err := tls.X509KeyPair(chain, key)
	switch {
	case err == nil:
		p.content = content
		p.served.Store(&pair)
		return true, nil, nil
	case strings.Contains(err.Error(), "does not match"):
		return false, nil, fmt.Errorf("%s does not belong to the first certificate in %s: name the key of that one; a chain begins with the server's own certificate", p.KeyFile, p.ChainFile)
	default:
		return false, nil, fmt.Errorf("%s cannot be used with %s: %w", p.KeyFile, p.ChainFile, err)
	}
}

// Config returns settings for TLS. Each handshake uses the pair that p serves at that time.
func (p *Pair) Config() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return p.served.Load(), nil },
	}
}

// Served returns the certificate of the server that is served now.
func (p *Pair) Served() *x509.Certificate { return p.served.Load().Leaf }

// Loaded returns the certificate that Load has read, before any renewal.
func (p *Pair) Loaded() *x509.Certificate { return p.loaded }

// IsCredential reports whether one of the files is a credential of systemd. Only systemd can renew a credential.
func (p *Pair) IsCredential() bool { return !filepath.IsAbs(p.ChainFile) || !filepath.IsAbs(p.KeyFile) }

// Fingerprint returns the SHA-256 of c in hexadecimal digits, as openssl x509 -fingerprint -sha256
// prints it without its colons.
func Fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}
