package webconfig_test

import (
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/prometheus/exporter-toolkit/web"
	"golang.org/x/crypto/bcrypt"

	"greetd.example/internal/test/testserver"
	"greetd.example/internal/webconfig"
)

// hashOf is of the least cost.
func hashOf(t *testing.T, password string) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(hash)
}

// directory has a certificate, its key, and another key.
func directory(t *testing.T) string {
	t.Helper()
	dir, other := t.TempDir(), t.TempDir()
	ca := testserver.NewAuthority(t)
	testserver.WritePair(t, dir, ca.Sign(t, &x509.Certificate{DNSNames: []string{"localhost"}}))
	_, key := testserver.WritePair(t, other, ca.Sign(t, &x509.Certificate{DNSNames: []string{"localhost"}}))
	if err := os.Rename(key, filepath.Join(dir, "other.pem")); err != nil {
		t.Fatal(err)
	}
	ca.WriteFile(t, dir)
	return dir
}

func load(t *testing.T, dir, text string) (string, *webconfig.Config, error) {
	t.Helper()
	file := filepath.Join(dir, "web.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := webconfig.Load(file)
	return file, c, err
}

// TestAgreesWithExporterToolkit: a file is good here if it is there, and the error is one sentence.
func TestAgreesWithExporterToolkit(t *testing.T) {
	dir, hash := directory(t), hashOf(t, "secret")
	for _, tt := range []struct{ text, want string }{
		{"tls_server_config: {cert_file: cert.pem, key_file: key.pem}", ""},
		{"tls_server_config: {cert_file: cert.pem, key_file: key.pem, client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.pem}", ""},
		{"tls_server_config: {cert_file: cert.pem, key_file: key.pem, min_version: TLS13, curve_preferences: [X25519], cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]}", ""},
		{"tls_server_config: {cert_file: cert.pem, key_file: key.pem}\nhttp_server_config: {http2: false, headers: {X-Frame-Options: deny}}\nrate_limit: {burst: 3, interval: 1s}", ""},
		{"basic_auth_users: {a: " + hash + "}", ""},
		{"rate_limit: {burst: 3, interval: 1m}", ""},

		{"tls_server_cofig: {}", "line 1: field tls_server_cofig not found"},
		{"tls_server_config: {cert_file: cert.pem}", "tls_server_config: missing one of key or key_file"},
		{"tls_server_config: {cert_file: absent.pem, key_file: key.pem}", "absent.pem does not exist: create it, or name another file"},
		{"tls_server_config: {cert_file: cert.pem, key_file: other.pem}", "private key does not match public key"},
		{"tls_server_config: {cert_file: cert.pem, key_file: key.pem, min_version: TLS9}", "unknown TLS version: TLS9"},
		{"tls_server_config: {cert_file: cert.pem, key_file: key.pem, client_auth_type: Maybe}", "invalid ClientAuth: Maybe"},
		{"tls_server_config: {cert_file: cert.pem, key_file: key.pem, client_ca_file: ca.pem}", "without a Client Auth Policy"},
		{"basic_auth_users: {a: secret}", `the password of "a" is not a bcrypt hash: make one with htpasswd -nB`},
		{"basic_auth_users: {a: " + hash[:40] + "}", "is not a bcrypt hash"},
		{"basic_auth_users: {a: x}\nbasic_auth_users: {b: y}", "already"},
		{"basic_auth_users: [a]", "line 1: cannot unmarshal"},
		{"http_server_config: {headers: {X-Nonsense: a}}", `"X-Nonsense" can't be set: there are Content-Security-Policy, `},
		{"http_server_config: {headers: {X-Frame-Options: maybe}}", "X-Frame-Options must be deny or sameorigin"},
		{"rate_limit: {burst: 3, interval: 5}\nunknown: 1\nfoo: 2", "line 2: field unknown not found; line 3: field foo not found"},
		{"{", "line 1"},
	} {
		file, _, err := load(t, dir, tt.text)
		if theirs := web.Validate(file); (theirs == nil) != (err == nil) {
			t.Errorf("%s: %v, but exporter-toolkit says %v", tt.text, err, theirs)
		}
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("%s: %v", tt.text, err)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), file+": ") || strings.Contains(err.Error(), "\n")):
			t.Errorf("%s: %v, want one line after %s with %s", tt.text, err, file, tt.want)
		}
	}
}

// TestRefusesWhatProtectsNothing: exporter-toolkit takes these files, and lets everybody or nobody in.
func TestRefusesWhatProtectsNothing(t *testing.T) {
	dir := directory(t)
	for text, want := range map[string]string{
		"":                       "asks nothing of clients",
		"# to do\n":              "asks nothing of clients",
		"basic_auth_users: {}\n": "asks nothing of clients",
		"tls_server_config: {cert_file: cert.pem, key_file: key.pem, client_auth_type: RequireAndVerifyClientCert, client_ca_file: key.pem}": "no client could connect",
	} {
		if _, _, err := load(t, dir, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
	if _, err := webconfig.Load(filepath.Join(dir, "absent.yaml")); err == nil || !strings.Contains(err.Error(), "absent.yaml does not exist: create it") {
		t.Errorf("no file: %v", err)
	}
}

func ask(t *testing.T, c *webconfig.Config, user, password string, slow func()) (bool, *httptest.ResponseRecorder) {
	t.Helper()
	request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody)
	if user != "" {
		request.SetBasicAuth(user, password)
	}
	w := httptest.NewRecorder()
	return c.Admit(w, request, slow), w
}

func TestPasswords(t *testing.T) {
	_, c, err := load(t, t.TempDir(), "basic_auth_users: {a: "+hashOf(t, "secret")+", b: "+hashOf(t, "")+"}")
	if err != nil {
		t.Fatal(err)
	}
	var checks atomic.Int32
	for _, tt := range []struct {
		user, password string
		good           bool
		checks         int32
	}{
		{"", "", false, 0},
		{"a", "secret", true, 1},
		{"a", "secret", true, 0}, // remembered
		{"a", "secret ", false, 1},
		{"a", "secret ", false, 1}, // a wrong one is not
		{"c", "secret", false, 1},  // as slow as a user that exists
		{"b", "secret", false, 1},
		{"b", "", true, 1},
		{"a", "secret", true, 0},
	} {
		checks.Store(0)
		good, w := ask(t, c, tt.user, tt.password, func() { checks.Add(1) })
		if good != tt.good || checks.Load() != tt.checks {
			t.Errorf("%s:%q: %t after %d checks, want %t after %d", tt.user, tt.password, good, checks.Load(), tt.good, tt.checks)
		}
		if !good && (w.Code != http.StatusUnauthorized || !strings.HasPrefix(w.Header().Get("WWW-Authenticate"), "Basic ")) {
			t.Errorf("%s: %d %v", tt.user, w.Code, w.Header())
		}
	}
}

func TestHeadersAndRateLimit(t *testing.T) {
	_, c, err := load(t, t.TempDir(), "rate_limit: {burst: 2, interval: 1h}\nhttp_server_config: {headers: {Strict-Transport-Security: max-age=60}}")
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{true, true, false} {
		good, w := ask(t, c, "", "", nil)
		if good != want || w.Header().Get("Strict-Transport-Security") != "max-age=60" {
			t.Errorf("request %d: %t %v", i, good, w.Header())
		}
		if !good && w.Code != http.StatusTooManyRequests {
			t.Errorf("request %d: %d", i, w.Code)
		}
	}
}

func TestEqual(t *testing.T) {
	dir := directory(t)
	text := "tls_server_config: {cert_file: cert.pem, key_file: key.pem}"
	_, first, _ := load(t, dir, text)
	_, again, _ := load(t, dir, text)
	_, other, _ := load(t, dir, text+" # another")
	testserver.WritePair(t, dir, testserver.NewAuthority(t).Sign(t, &x509.Certificate{DNSNames: []string{"localhost"}}))
	_, renewed, err := load(t, dir, text)
	if err != nil {
		t.Fatal(err)
	}
	var none *webconfig.Config
	if !first.Equal(again) || first.Equal(other) || first.Equal(renewed) || first.Equal(none) || none.Equal(first) || !none.Equal(nil) {
		t.Error("Equal does not see what clients need")
	}
	if none.TLS() != nil {
		t.Error("TLS of nothing")
	}
}
