package admin_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"greetd.example/internal/admin"
	"greetd.example/internal/test/testserver"
	"greetd.example/internal/webconfig"
)

// protection writes a file of exporter-toolkit's with TLS for 127.0.0.1 and one user, and loads it.
func protection(t *testing.T, ca *testserver.Authority, more, user, password string) *webconfig.Config {
	t.Helper()
	dir := t.TempDir()
	testserver.WritePair(t, dir, ca.Sign(t, &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}))
	ca.WriteFile(t, dir)
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "web.yaml")
	text := fmt.Sprintf("tls_server_config: {cert_file: cert.pem, key_file: key.pem%s}\nbasic_auth_users: {%s: %s}\n", more, user, hash)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	web, err := webconfig.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	return web
}

// startProtected serves whole() on a port with that protection, and on a unix socket.
func startProtected(t *testing.T, web *webconfig.Config) (server *admin.Server, ln net.Listener, unix string) {
	t.Helper()
	unix = "unix:" + filepath.Join(socketDir(t), "admin.sock")
	ln = listen(t, "127.0.0.1:0")
	server = serve(t, whole(), listen(t, unix))
	server.Protect(web)
	served := make(chan error, 1)
	go func() { served <- server.Serve(ln) }()
	t.Cleanup(func() { // before serve's own
		ctx, cancel := context.WithTimeout(context.Background(), generous)
		defer cancel()
		if err := errors.Join(server.Shutdown(ctx), <-served); err != nil {
			t.Error(err)
		}
	})
	return server, ln, unix
}

func browser(t *testing.T, ca *testserver.Authority, certificates ...tls.Certificate) *http.Client {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool(), Certificates: certificates}, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// visit returns the status and the protocol of an answer.
func visit(t *testing.T, client *http.Client, method, url, password string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if user, password, given := strings.Cut(password, ":"); given {
		request.SetBasicAuth(user, password)
	}
	answer, err := client.Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, answer.Body)
	return answer.StatusCode, answer.Proto
}

func TestProtectedOverTCP(t *testing.T) {
	ca := testserver.NewAuthority(t)
	_, ln, unix := startProtected(t, protection(t, ca, "", "prometheus", "secret"))
	client, url := browser(t, ca), "https://"+ln.Addr().String()
	for _, tt := range []struct {
		method, path, password string
		code                   int
	}{
		{"GET", "/metrics", "prometheus:secret", 200},
		{"HEAD", "/healthz", "prometheus:secret", 200},
		{"GET", "/metrics", "", 401},
		{"GET", "/healthz", "", 401},
		{"GET", "/nothing", "", 401},
		{"GET", "/metrics", "prometheus:wrong", 401},
		{"GET", "/metrics", "root:secret", 401},
		{"GET", "/nothing", "prometheus:secret", 404},
		{"POST", "/reload", "prometheus:secret", 405},
		{"POST", "/reload", "", 401},
	} {
		if code, proto := visit(t, client, tt.method, url+tt.path, tt.password); code != tt.code || proto != "HTTP/1.1" {
			t.Errorf("%s %s as %s: %d %s, want %d", tt.method, tt.path, tt.password, code, proto, tt.code)
		}
	}
	if code, _ := visit(t, client, "GET", strings.Replace(url, "https", "http", 1)+"/metrics", "prometheus:secret"); code != 400 {
		t.Errorf("plain HTTP: %d", code)
	}
	if _, err := admin.Dial(unix).Reload(t.Context()); err != nil {
		t.Errorf("the unix socket needs something: %v", err)
	}
	if _, err := admin.Dial(ln.Addr().String()).Status(t.Context()); !errors.Is(err, admin.ErrProtected) || !strings.Contains(err.Error(), "unix socket") {
		t.Errorf("greetd status over TCP: %v", err)
	}
}

func TestClientCertificates(t *testing.T) {
	ca := testserver.NewAuthority(t)
	_, ln, _ := startProtected(t, protection(t, ca, ", client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.pem", "a", "secret"))
	url := "https://" + ln.Addr().String() + "/metrics"
	usage := &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	for name, tt := range map[string]struct {
		client *http.Client
		code   int
	}{
		"ours":   {browser(t, ca, ca.Sign(t, usage)), 200},
		"none":   {browser(t, ca), 0},
		"theirs": {browser(t, ca, testserver.NewAuthority(t).Sign(t, usage)), 0},
	} {
		if code, _ := visit(t, tt.client, "GET", url, "a:secret"); code != tt.code {
			t.Errorf("%s: %d, want %d", name, code, tt.code)
		}
	}
}

// TestProtectChanges: users and certificates change between two requests of the same client,
// who sees no error; the same again leaves its connection alone.
func TestProtectChanges(t *testing.T) {
	ca := testserver.NewAuthority(t)
	first := protection(t, ca, "", "a", "secret")
	server, ln, _ := startProtected(t, first)
	client, url := browser(t, ca), "https://"+ln.Addr().String()+"/metrics"
	expect := func(password string, want int) {
		t.Helper()
		if code, what := visit(t, client, "GET", url, password); code != want {
			t.Errorf("%s: %d %s, want %d", password, code, what, want)
		}
	}
	expect("a:secret", 200)
	server.Protect(first)
	expect("a:secret", 200)
	server.Protect(protection(t, ca, "", "b", "other"))
	expect("a:secret", 401)
	expect("b:other", 200)

	another := testserver.NewAuthority(t)
	server.Protect(protection(t, another, "", "b", "other"))
	expect("b:other", 0) // its certificate is of an unknown authority
	client = browser(t, another)
	expect("b:other", 200)

	server.Protect(nil)
	client, url = http.DefaultClient, "http://"+ln.Addr().String()+"/metrics"
	expect("", 200)
	server.Protect(first)
	expect("", 400)
}

// TestWrongPasswordsLeaveRoom: a source that guesses passwords is slowed down, and another is answered.
func TestWrongPasswordsLeaveRoom(t *testing.T) {
	ca := testserver.NewAuthority(t)
	_, ln, _ := startProtected(t, protection(t, ca, "", "a", "secret"))
	url := "https://" + ln.Addr().String() + "/metrics"
	guess := browser(t, ca)
	for range 12 { // 12 passwords count for more than the burst
		if code, _ := visit(t, guess, "GET", url, "a:guess"); code != 401 {
			t.Fatalf("a guess: %d", code)
		}
	}
	if code, what := visit(t, browser(t, ca), "GET", url, "a:secret"); code != 200 {
		t.Errorf("%d %s", code, what)
	}
}
