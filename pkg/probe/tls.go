package probe

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// handshake does the TLS handshake on w, and reports whether it succeeded. Timing.TLS is the time since began.
func (r *run) handshake(w *wire, began time.Time) bool {
	r.TLS = &TLS{}
	w.wait(time.Until(w.until))
	recorded := &recorder{Conn: w.Conn}
	asked := false
	conn := tls.Client(recorded, r.config(&asked))
	started := time.Now()
	// Without the cancel of w.ctx: an interrupt ends the reads of w, and HandshakeContext needs no goroutine for it.
	if err := conn.HandshakeContext(context.WithoutCancel(w.ctx)); err != nil {
		r.broken(w, PhaseTLS, TLSFailed, r.tlsReason(err, asked, recorded, w))
		return false
	}
	w.Conn = conn
	w.refusal = func(err error) error { return r.lateRefusal(err, asked) }
	r.Timing.TLS = since(began)
	if asked && conn.ConnectionState().Version == tls.VersionTLS13 && (r.p.ConnectOnly || r.p.StartTLS != "") {
		return r.accepted(w, time.Since(started))
	}
	return true
}

// accepted waits whether a server with TLS 1.3 refuses the certificate of the client, or a client without one. It
// reports whether the server did not refuse. With TLS 1.3, the handshake of the client is complete before the server
// has seen the certificate, and a refusal arrives one round trip later. handshake, the time of the handshake, is at
// least one round trip.
func (r *run) accepted(w *wire, handshake time.Duration) bool {
	w.wait(2*handshake + 200*time.Millisecond)
	b := make([]byte, firstRead)
	n, err := w.Read(b)
	w.early = b[:n]
	if refusal := w.refusal(err); refusal != nil {
		r.broken(w, PhaseTLS, TLSFailed, refusal)
		return false
	}
	w.wait(time.Until(w.until))
	return true
}

// lateRefusal returns the meaning of a TLS alert after the handshake. It returns nil if err is not an alert.
func (r *run) lateRefusal(err error, asked bool) error {
	alert, ok := errors.AsType[*net.OpError](err)
	if !ok || alert.Op != "remote error" {
		return nil
	}
	return r.refusedHandshake(alert, asked)
}

// certificateAlerts are the names in crypto/tls of the alerts about the certificate of the client (RFC 8446, section
// 6.2).
var certificateAlerts = []string{
	"bad certificate", "unsupported certificate", "revoked certificate", "expired certificate", "unknown certificate",
	"unknown certificate authority", "access denied",
}

// refusedHandshake returns an error that explains an alert. asked means that the server has asked for a client
// certificate.
func (r *run) refusedHandshake(alert *net.OpError, asked bool) error {
	text := strings.TrimPrefix(alert.Err.Error(), "tls: ")
	why := ""
	switch {
	case asked && r.withoutCertificate():
		why = "; it asked for a client certificate, and there is none"
	case asked && slices.Contains(certificateAlerts, text):
		why = "; that is about the client certificate that it asked for and got"
	case asked:
	case text == "protocol version not supported":
		why = "; it speaks none of " + r.versions()
	case text == "handshake failure":
		why = "; it has no version and cipher suite in common with this client, or no certificate for the name " + r.TLS.ServerName
	}
	return fmt.Errorf("the server refused the TLS handshake: %s%s", text, why)
}

func (r *run) versions() string {
	oldest, newest := uint16(tls.VersionTLS12), uint16(tls.VersionTLS13) // the defaults of crypto/tls
	if r.p.TLS != nil {
		oldest, newest = cmp.Or(r.p.TLS.MinVersion, oldest), cmp.Or(r.p.TLS.MaxVersion, newest)
	}
	var names []string
	for _, version := range []uint16{tls.VersionTLS10, tls.VersionTLS11, tls.VersionTLS12, tls.VersionTLS13} {
		if oldest <= version && version <= newest {
			names = append(names, tls.VersionName(version))
		}
	}
	return listed(names, ", ")
}

func (r *run) withoutCertificate() bool {
	return r.p.TLS == nil || len(r.p.TLS.Certificates) == 0 && r.p.TLS.GetClientCertificate == nil
}

// config returns the Config of the probe, changed so that certificates that are not trusted are recorded, too. The
// handshake sets asked if the server asks for a client certificate.
func (r *run) config(asked *bool) *tls.Config {
	config := &tls.Config{}
	if r.p.TLS != nil {
		config = r.p.TLS.Clone()
	}
	if config.ServerName == "" {
		config.ServerName, _ = r.Target.name() // the name of an address is the address
		if r.Target.Host == r.Target.Addr.String() {
			config.ServerName = r.Target.Addr.WithZone("").String()
		}
	}
	r.TLS.ServerName = config.ServerName
	answer, certificates := config.GetClientCertificate, config.Certificates
	config.GetClientCertificate = func(request *tls.CertificateRequestInfo) (*tls.Certificate, error) {
		*asked = true
		switch {
		case answer != nil:
			return answer(request)
		case len(certificates) > 0:
			return &certificates[0], nil // even if the server does not name its authority: the server decides about it
		}
		return &tls.Certificate{}, nil
	}
	insecure, also := config.InsecureSkipVerify, config.VerifyConnection
	config.InsecureSkipVerify = true // VerifyConnection verifies the certificate after recording it
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

// inspect records the facts of the handshake. It returns an error if the certificate can't be trusted.
func (r *run) inspect(config *tls.Config, state tls.ConnectionState) error {
	leaf := state.PeerCertificates[0]
	t := r.TLS
	t.Version, t.Cipher = tls.VersionName(state.Version), tls.CipherSuiteName(state.CipherSuite)
	t.Subject, t.Issuer = leaf.Subject.String(), leaf.Issuer.String()
	t.NotBefore, t.NotAfter = leaf.NotBefore, leaf.NotAfter
	t.Names, t.Old = names(leaf), old(state)
	chains, err := verify(config, state)
	t.Verified = err == nil
	if err != nil {
		t.Problem = err.Error()
		chains = [][]*x509.Certificate{issuers(state.PeerCertificates)}
	}
	ends := firstToExpire(chains)
	t.ChainNotAfter, t.ChainSubject = ends.NotAfter, ends.Subject.String()
	return err
}

// firstToExpire returns the certificate that expires first in a chain. Among several chains, it chooses the one that
// is valid for the longest time.
func firstToExpire(chains [][]*x509.Certificate) *x509.Certificate {
	byEnd := func(a, b *x509.Certificate) int { return a.NotAfter.Compare(b.NotAfter) }
	var ends []*x509.Certificate
	for _, chain := range chains {
		ends = append(ends, slices.MinFunc(chain, byEnd))
	}
	return slices.MaxFunc(ends, byEnd)
}

// old returns the properties of a connection that are too old to be safe.
func old(state tls.ConnectionState) (words []string) {
	if state.Version < tls.VersionTLS12 {
		words = append(words, tls.VersionName(state.Version)+" (RFC 8996)")
	}
	for _, suite := range tls.InsecureCipherSuites() {
		if suite.ID == state.CipherSuite {
			words = append(words, "cipher suite "+suite.Name)
		}
	}
	for i, cert := range state.PeerCertificates {
		if key, ok := cert.PublicKey.(*rsa.PublicKey); ok && i == 0 && key.N.BitLen() < 2048 {
			words = append(words, fmt.Sprintf("RSA key of %d bits", key.N.BitLen()))
		}
		if weak(cert) && !bytes.Equal(cert.RawIssuer, cert.RawSubject) {
			words = append(words, fmt.Sprintf("signature %s of %s", cert.SignatureAlgorithm, clip(cert.Subject.String())))
		}
	}
	return words
}

// weak reports whether a certificate is signed with a hash that can be forged.
func weak(cert *x509.Certificate) bool {
	forgeable := []x509.SignatureAlgorithm{x509.MD2WithRSA, x509.MD5WithRSA, x509.SHA1WithRSA, x509.DSAWithSHA1, x509.ECDSAWithSHA1}
	return slices.Contains(forgeable, cert.SignatureAlgorithm)
}

// verify verifies the certificate of the server: its chain to the roots, its validity and its names.
func verify(config *tls.Config, state tls.ConnectionState) ([][]*x509.Certificate, error) {
	leaf := state.PeerCertificates[0]
	now := time.Now()
	if config.Time != nil {
		now = config.Time()
	}
	options := x509.VerifyOptions{
		Roots: config.RootCAs, Intermediates: x509.NewCertPool(), DNSName: config.ServerName, CurrentTime: now,
	}
	for _, cert := range state.PeerCertificates[1:] {
		options.Intermediates.AddCert(cert)
	}
	if config.ServerName == "" {
		return nil, &certificateError{"there is no name to hold the certificate against: give one (SNI)", nil}
	}
	chains, err := leaf.Verify(options)
	return chains, explainCertificate(state.PeerCertificates, config.ServerName, now, err)
}

// certificateError is the reason why a certificate can't be trusted, in words.
type certificateError struct {
	text string
	err  error // from crypto/x509
}

func (e *certificateError) Error() string { return e.text }
func (e *certificateError) Unwrap() error { return e.err }

// explainCertificate returns err, the reason why the first certificate of sent can't be trusted, with a better text.
// It returns nil for nil.
func explainCertificate(sent []*x509.Certificate, name string, now time.Time, err error) error {
	if err == nil {
		return nil
	}
	leaf := sent[0]
	text := strings.TrimPrefix(err.Error(), "x509: ")
	if _, wrong := errors.AsType[x509.HostnameError](err); wrong {
		text = wrongName(leaf, name)
	}
	if _, unknown := errors.AsType[x509.UnknownAuthorityError](err); unknown {
		text = unknownAuthority(sent, now, err.Error())
	}
	invalid, _ := errors.AsType[x509.CertificateInvalidError](err)
	if invalid.Reason == x509.Expired && invalid.Cert != nil {
		which := "the certificate"
		if invalid.Cert != leaf {
			which += " of its issuer " + invalid.Cert.Subject.String()
		}
		text = validity(which, invalid.Cert, now)
	}
	if invalid.Reason == x509.IncompatibleUsage {
		text = "the certificate, or one of its issuers, is not for servers: its extended key usage lacks server authentication"
	}
	return &certificateError{clip(text), err}
}

func wrongName(leaf *x509.Certificate, name string) string {
	common := leaf.Subject.CommonName
	if len(names(leaf)) == 0 && strings.EqualFold(common, name) {
		return fmt.Sprintf("the certificate has the name %s only as its common name (CN), which counts no longer: it needs a subjectAltName", name)
	}
	return fmt.Sprintf("the certificate is for %s, not for %s", cmp.Or(listed(names(leaf), ", "), leaf.Subject.String()), name)
}

// unknownAuthority returns the reason why no chain leads from the first certificate of sent to a trusted authority.
// reason is the text of the error of crypto/x509, which has details only in its text.
func unknownAuthority(sent []*x509.Certificate, now time.Time, reason string) string {
	leaf := sent[0]
	path := issuers(sent)
	top := path[len(path)-1]
	for i, cert := range path {
		switch {
		case i > 0 && (now.Before(cert.NotBefore) || now.After(cert.NotAfter)):
			return validity("the certificate of its issuer "+cert.Subject.String(), cert, now)
		case weak(cert) && strings.Contains(reason, "insecure algorithm"):
			return fmt.Sprintf("the certificate of %s is signed with %s, which can be forged and is no longer trusted", cert.Subject, cert.SignatureAlgorithm)
		}
	}
	switch selfSigned := bytes.Equal(top.RawIssuer, top.RawSubject); {
	case strings.Contains(reason, "has expired or is not yet valid"):
		return fmt.Sprintf("the certificate of its authority %s has expired or is not valid yet", top.Issuer)
	case strings.Contains(reason, "possibly because of"):
		return fmt.Sprintf("the certificate is signed by an unknown authority, %s: one that is trusted has the same name and another key", top.Issuer)
	case selfSigned && len(path) == 1:
		return "the certificate is self-signed"
	case selfSigned:
		return fmt.Sprintf("the certificate is signed by an unknown authority, %s, whose own certificate the server sent", top.Subject)
	case len(path) > 1:
		return fmt.Sprintf("the certificate is signed by %s, and that by an unknown authority, %s", leaf.Issuer, top.Issuer)
	}
	return fmt.Sprintf("the certificate is signed by an unknown authority, %s", leaf.Issuer)
}

// issuers returns the first certificate of sent, its issuer, the issuer of this one, and so on, up to the last one in
// sent.
func issuers(sent []*x509.Certificate) []*x509.Certificate {
	path := sent[:1:1]
	for {
		last := path[len(path)-1]
		next := slices.IndexFunc(sent, func(c *x509.Certificate) bool {
			return bytes.Equal(c.RawSubject, last.RawIssuer) && !slices.Contains(path, c)
		})
		if next < 0 {
			return path
		}
		path = append(path, sent[next])
	}
}

// maxReason is the maximum length, in bytes, of the reason why a certificate can't be trusted. It is needed since the
// names in a certificate can be long.
const maxReason = 800

func clip(text string) string {
	if len(text) <= maxReason {
		return text
	}
	return strings.ToValidUTF8(text[:maxReason], "") + "..."
}

func validity(which string, cert *x509.Certificate, now time.Time) string {
	if now.Before(cert.NotBefore) {
		return which + " is not valid before " + cert.NotBefore.UTC().Format(time.RFC3339)
	}
	return which + " expired at " + cert.NotAfter.UTC().Format(time.RFC3339)
}

func names(cert *x509.Certificate) []string {
	all := append([]string(nil), cert.DNSNames...)
	for _, ip := range cert.IPAddresses {
		all = append(all, ip.String())
	}
	return all
}

// chosenVersion matches the version that the server has chosen, in an error of crypto/tls.
var chosenVersion = regexp.MustCompile(`server selected unsupported protocol version ([0-9a-f]+)`)

// tlsReason returns the reason in words why the handshake failed. asked means that the server has asked for a client
// certificate.
func (r *run) tlsReason(err error, asked bool, recorded *recorder, w *wire) error {
	if certificate, ok := errors.AsType[*certificateError](err); ok {
		return certificate
	}
	if _, plain := errors.AsType[tls.RecordHeaderError](err); plain {
		return fmt.Errorf("the server spoke plain text, not TLS: %q", recorded.line(w))
	}
	if alert, ok := errors.AsType[*net.OpError](err); ok && alert.Op == "remote error" {
		return r.refusedHandshake(alert, asked)
	}
	if chosen := chosenVersion.FindStringSubmatch(err.Error()); chosen != nil {
		version, _ := strconv.ParseUint(chosen[1], 16, 16)
		return fmt.Errorf("the server speaks %s, which is not among the versions allowed", tls.VersionName(uint16(version)))
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("no answer to the TLS handshake %s", w.spent())
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return errors.New("the server closed the connection during the TLS handshake")
	}
	return fmt.Errorf("TLS handshake: %w", reason(err))
}

// recorder is a connection that keeps the first bytes that were read.
type recorder struct {
	net.Conn
	said []byte
}

// recorded is the maximum number of bytes that a recorder keeps.
const recorded = 200

// Read implements net.Conn.
func (c *recorder) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.said = append(c.said, b[:min(n, recorded-min(recorded, len(c.said)))]...)
	return n, err
}

// line returns the first line that the server has sent. If the line is not complete yet, it reads a little more.
func (c *recorder) line(w *wire) string {
	more := make([]byte, recorded)
	for !strings.Contains(string(c.said), "\n") && len(c.said) < recorded {
		w.wait(500 * time.Millisecond)
		if n, _ := c.Read(more); n == 0 {
			break
		}
	}
	line, _, _ := strings.Cut(string(c.said), "\n")
	return strings.TrimSuffix(line, "\r")
}
