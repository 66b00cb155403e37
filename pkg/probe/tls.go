package probe

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
)

// handshake makes w speak TLS, and reports whether it does. The time since began is
// that of the step.
func (r *run) handshake(w *wire, began time.Time) bool {
	r.TLS = &TLS{}
	w.wait(time.Until(w.until))
	heard := &recorder{Conn: w.Conn}
	conn := tls.Client(heard, r.config())
	// Interrupts come through w, without another goroutine.
	if err := conn.HandshakeContext(context.WithoutCancel(w.ctx)); err != nil {
		r.broken(w, PhaseTLS, TLSFailed, tlsReason(err, heard, w))
		return false
	}
	w.Conn = conn
	r.Timing.TLS = since(began)
	return true
}

// config returns the Config of the probe, made to tell about certificates that it
// doesn't trust too.
func (r *run) config() *tls.Config {
	config := &tls.Config{}
	if r.p.TLS != nil {
		config = r.p.TLS.Clone()
	}
	if config.ServerName == "" {
		config.ServerName, _ = r.Target.name() // an address is its own name
		if r.Target.Host == r.Target.Addr.String() {
			config.ServerName = r.Target.Addr.WithZone("").String()
		}
	}
	r.TLS.ServerName = config.ServerName
	insecure, also := config.InsecureSkipVerify, config.VerifyConnection
	config.InsecureSkipVerify = true // VerifyConnection does it, after it has told
	config.VerifyConnection = func(state tls.ConnectionState) error {
		err := r.inspect(config, state)
		if err != nil && !insecure {
			return err
		}
		if also != nil {
			return also(state)
		}
		return nil
	}
	return config
}

// inspect notes what the handshake brought, and returns why its certificate can't be
// trusted.
func (r *run) inspect(config *tls.Config, state tls.ConnectionState) error {
	leaf := state.PeerCertificates[0]
	t := r.TLS
	t.Version, t.Cipher = tls.VersionName(state.Version), tls.CipherSuiteName(state.CipherSuite)
	t.Subject, t.Issuer = leaf.Subject.String(), leaf.Issuer.String()
	t.NotBefore, t.NotAfter = leaf.NotBefore, leaf.NotAfter
	t.Names = append(t.Names, leaf.DNSNames...)
	for _, ip := range leaf.IPAddresses {
		t.Names = append(t.Names, ip.String())
	}
	err := verify(config, state)
	t.Verified = err == nil
	if err != nil {
		t.Problem = err.Error()
	}
	return err
}

// verify holds the certificate against roots, time and name.
func verify(config *tls.Config, state tls.ConnectionState) error {
	leaf := state.PeerCertificates[0]
	options := x509.VerifyOptions{
		Roots:         config.RootCAs,
		Intermediates: x509.NewCertPool(),
		DNSName:       config.ServerName,
	}
	now := time.Now()
	if config.Time != nil {
		now = config.Time()
	}
	options.CurrentTime = now
	for _, cert := range state.PeerCertificates[1:] {
		options.Intermediates.AddCert(cert)
	}
	if config.ServerName == "" {
		return &certificateError{"there is no name to hold the certificate against: give one (SNI)", nil}
	}
	_, err := leaf.Verify(options)
	return explainCertificate(leaf, config.ServerName, now, err)
}

// certificateError is why a certificate can't be trusted, in words.
type certificateError struct {
	text string
	err  error // from crypto/x509
}

func (e *certificateError) Error() string { return e.text }
func (e *certificateError) Unwrap() error { return e.err }

func explainCertificate(leaf *x509.Certificate, name string, now time.Time, err error) error {
	if err == nil {
		return nil
	}
	text := strings.TrimPrefix(err.Error(), "x509: ")
	if _, wrong := errors.AsType[x509.HostnameError](err); wrong {
		text = fmt.Sprintf("the certificate is for %s, not for %s", cmp.Or(listed(names(leaf), ", "), leaf.Subject.String()), name)
	}
	if _, unknown := errors.AsType[x509.UnknownAuthorityError](err); unknown {
		text = fmt.Sprintf("the certificate is signed by an unknown authority, %s", leaf.Issuer)
		if leaf.Issuer.String() == leaf.Subject.String() {
			text = "the certificate is self-signed"
		}
	}
	invalid, _ := errors.AsType[x509.CertificateInvalidError](err)
	if invalid.Reason == x509.Expired && invalid.Cert != nil {
		text = validity(invalid.Cert, now)
		if invalid.Cert != leaf {
			text = fmt.Sprintf("of its issuer %s, %s", invalid.Cert.Subject, text)
		}
	}
	return &certificateError{clip(text), err}
}

// maxReason is how long the reason why a certificate can't be trusted may be, in
// bytes: its parts are as long as who made it likes.
const maxReason = 800

func clip(text string) string {
	if len(text) <= maxReason {
		return text
	}
	return strings.ToValidUTF8(text[:maxReason], "") + "..."
}

func validity(cert *x509.Certificate, now time.Time) string {
	if now.Before(cert.NotBefore) {
		return "the certificate is not valid before " + cert.NotBefore.UTC().Format(time.RFC3339)
	}
	return "the certificate expired at " + cert.NotAfter.UTC().Format(time.RFC3339)
}

func names(cert *x509.Certificate) []string {
	all := append([]string(nil), cert.DNSNames...)
	for _, ip := range cert.IPAddresses {
		all = append(all, ip.String())
	}
	return all
}

// tlsReason says in words why the handshake failed.
func tlsReason(err error, heard *recorder, w *wire) error {
	if certificate, ok := errors.AsType[*certificateError](err); ok {
		return certificate
	}
	if _, plain := errors.AsType[tls.RecordHeaderError](err); plain {
		return fmt.Errorf("the server spoke plain text, not TLS: %q", heard.line(w))
	}
	if alert, ok := errors.AsType[*net.OpError](err); ok && alert.Op == "remote error" {
		return fmt.Errorf("the server refused the TLS handshake: %s", strings.TrimPrefix(alert.Err.Error(), "tls: "))
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("no answer to the TLS handshake %s", w.spent())
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return errors.New("the server closed the connection during the TLS handshake")
	}
	return fmt.Errorf("TLS handshake: %w", reason(err))
}

// recorder remembers the beginning of what is read.
type recorder struct {
	net.Conn
	said []byte
}

// recorded is how much of a server's plain text is told.
const recorded = 200

// Read implements net.Conn.
func (c *recorder) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.said = append(c.said, b[:min(n, recorded-min(recorded, len(c.said)))]...)
	return n, err
}

// line returns the first line that was said, and reads on a little where its end did
// not come yet.
func (c *recorder) line(w *wire) string {
	more := make([]byte, recorded)
	for !strings.Contains(string(c.said), "\n") && len(c.said) < recorded {
		w.wait(100 * time.Millisecond)
		if n, _ := c.Read(more); n == 0 {
			break
		}
	}
	line, _, _ := strings.Cut(string(c.said), "\n")
	return strings.TrimSuffix(line, "\r")
}
