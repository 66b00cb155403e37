// Package peers holds greetprobe against the servers that Debian has.
package peers

import (
	"bufio"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"greetd.example/internal/test/debian"
	"greetd.example/internal/test/testserver"
)

// greetprobe is the path of the program under test.
var greetprobe string

func TestMain(m *testing.M) {
	code := withGreetprobe(m.Run)
	if err := compared.check(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func withGreetprobe(run func() int) int {
	if greetprobe = os.Getenv(inNamespace); greetprobe != "" {
		return run()
	}
	dir, err := os.MkdirTemp("", "peers")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	greetprobe = filepath.Join(dir, "greetprobe")
	if out, err := exec.Command("go", "build", "-o", greetprobe, "greetd.example/cmd/greetprobe").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		return 1
	}
	return run()
}

// A result is what greetprobe said of one target.
type result struct {
	Status, Phase, Error string
	Local, Remote        string
	Greeting             struct{ Text string }
	TLS                  *struct {
		Version  string
		Verified bool
		Problem  string
		Names    []string
	}
	Protocol, Software string
	Version            string `json:"software_version"`
	Refusal            *struct {
		Code, Words string
		Temporary   bool
	}
	Exit int
}

// probe runs greetprobe for one target.
func probe(t *testing.T, args ...string) (r result) {
	t.Helper()
	out, err := exec.Command(greetprobe, append([]string{"-o", "json"}, args...)...).Output()
	if _, failed := errors.AsType[*exec.ExitError](err); err != nil && !failed {
		t.Fatal(err)
	}
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatalf("greetprobe %q: %v: %q", args, err, out)
	}
	return r
}

// want checks that r is well and that the greeting begins so.
func (r result) want(t *testing.T, greeting string) {
	t.Helper()
	if r.Status != "ok" || !strings.HasPrefix(r.Greeting.Text, greeting) {
		t.Errorf("%s in phase %s: %s; greeting %q, want %q", r.Status, r.Phase, r.Error, r.Greeting.Text, greeting)
	}
}

// fails checks that r failed so.
func (r result) fails(t *testing.T, status, err string) {
	t.Helper()
	if r.Status != status || !strings.Contains(r.Error, err) {
		t.Errorf("%s in phase %s: %s; want %s: %s", r.Status, r.Phase, r.Error, status, err)
	}
}

// needsRoot skips tests whose servers want to change their user.
func needsRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		debian.Lacking(t, "root: the server changes its user")
	}
}

// freePorts returns ports of 127.0.0.1 that were free a moment ago.
func freePorts(t *testing.T, n int) (ports []string) {
	t.Helper()
	for range n {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		_, port, err := net.SplitHostPort(ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		ports = append(ports, port)
	}
	return ports
}

// openDir returns a directory that other users can enter.
func openDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := errors.Join(os.Chmod(filepath.Dir(dir), 0o755), os.Chmod(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// fill writes template into a file of dir, with {NAME} replaced.
func fill(t *testing.T, dir, name, template string, pairs ...string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(strings.NewReplacer(pairs...).Replace(template)), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// start runs a server until the test ends, and waits until all ports answer.
func start(t *testing.T, ports []string, name string, args ...string) {
	t.Helper()
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		_ = cmd.Wait()
		if said, _ := os.ReadFile(log.Name()); t.Failed() {
			t.Logf("%s said:\n%s", name, said)
		}
	})
	for _, port := range ports {
		out, err := exec.Command(greetprobe, "-z", "--wait", "20s", "127.0.0.1", port).CombinedOutput()
		if err != nil {
			t.Fatalf("%s does not listen: %s", name, out)
		}
	}
}

// certificates makes an authority, and a certificate of it for 127.0.0.1.
func certificates(t *testing.T, dir string) (ca, cert, key string) {
	t.Helper()
	authority := testserver.NewAuthority(t)
	pair := authority.Sign(t, &x509.Certificate{DNSNames: []string{"mail.example"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}})
	cert, key = testserver.WritePair(t, dir, pair)
	return authority.WriteFile(t, dir), cert, key
}

func TestOpenSSL(t *testing.T) {
	openssl := debian.Program(t, "openssl", "openssl")
	dir := t.TempDir()
	ca, cert, key := certificates(t, dir)
	for _, test := range []struct {
		name    string
		server  []string
		args    []string
		status  string
		err     string
		version string
	}{
		{"TLS 1.3", nil, []string{"--ca", ca}, "ok", "", "TLS 1.3"},
		{"TLS 1.2", []string{"-tls1_2"}, []string{"--ca", ca}, "ok", "", "TLS 1.2"},
		{"not trusted", nil, nil, "tls_failed", "the certificate is signed by an unknown authority, CN=Test CA", "TLS 1.3"},
		{"not trusted, insecure", nil, []string{"--insecure"}, "ok", "", "TLS 1.3"},
		{"another name", nil, []string{"--ca", ca, "--sni", "other.example"}, "tls_failed", "the certificate is for mail.example, 127.0.0.1, not for other.example", "TLS 1.3"},
		{"by name", nil, []string{"--ca", ca, "--sni", "mail.example"}, "ok", "", "TLS 1.3"},
	} {
		t.Run(test.name, func(t *testing.T) {
			port := freePorts(t, 1)[0]
			server := exec.Command(openssl, append([]string{"s_server", "-accept", "127.0.0.1:" + port, "-cert", cert, "-key", key, "-naccept", "1"}, test.server...)...)
			say, err := server.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			hear, err := server.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := server.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() {
				_ = server.Process.Kill()
				_ = server.Wait()
			}()
			for lines := bufio.NewScanner(hear); lines.Scan() && lines.Text() != "ACCEPT"; {
				continue
			}
			go func() { _, _ = io.Copy(io.Discard, hear) }() // ends with the server
			_, _ = io.WriteString(say, "220 openssl\n")
			r := probe(t, append(test.args, "--tls", "127.0.0.1", port)...)
			if r.Status != test.status || !strings.Contains(r.Error, test.err) || r.Status == "ok" && r.Greeting.Text != "220 openssl\n" {
				t.Errorf("%s %s %q, want %s %s", r.Status, r.Error, r.Greeting.Text, test.status, test.err)
			}
			if r.TLS == nil || r.TLS.Version != test.version {
				t.Errorf("TLS = %+v, want %s", r.TLS, test.version)
			}
		})
	}
}

const haproxyConfig = `
defaults
	mode tcp
	timeout connect 5s
	timeout client 10s
	timeout server 10s
listen through
	bind 127.0.0.1:{PORT} accept-proxy
	server backend {BACKEND} send-proxy
`

// HAProxy hands on whose connection it is: the backend sees what greetprobe announced.
func TestHAProxy(t *testing.T) {
	haproxy := debian.Program(t, "haproxy", "haproxy")
	backend := testserver.Listen(t, func(c net.Conn) {
		header, _ := bufio.NewReader(c).ReadString('\n')
		testserver.GreetAndClose("220 " + strings.TrimSpace(header) + "\n")(c)
	})
	port := freePorts(t, 1)[0]
	config := fill(t, t.TempDir(), "haproxy.cfg", haproxyConfig, "{PORT}", port, "{BACKEND}", backend.Addr)
	start(t, []string{port}, haproxy, "-db", "-f", config)
	for _, version := range []string{"v1", "v2"} {
		r := probe(t, "--proxy", version, "-S", "127.0.0.9", "127.0.0.1", port)
		from, fromPort, _ := net.SplitHostPort(r.Local)
		r.want(t, fmt.Sprintf("220 PROXY TCP4 %s 127.0.0.1 %s %s\n", from, fromPort, port))
		if from != "127.0.0.9" {
			t.Errorf("local = %s", r.Local)
		}
	}
	r := probe(t, "--read-timeout", "1s", "127.0.0.1", port)
	if r.Status == "ok" {
		t.Errorf("HAProxy took a connection without header: %+v", r)
	}
}

const postfixMain = `
compatibility_level = 3.6
local_recipient_maps =
queue_directory = {DIR}/queue
data_directory = {DIR}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
maillog_file = /dev/stdout
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mail.example
mydestination =
alias_maps =
smtpd_tls_cert_file = {CERT}
smtpd_tls_key_file = {KEY}
smtpd_tls_security_level = may
smtpd_tls_CAfile =
postscreen_access_list =
postscreen_greet_wait = 3s
postscreen_greet_action = drop
postscreen_greet_banner = $myhostname waits
postscreen_dnsbl_sites =
postscreen_cache_map =
smtpd_client_event_limit_exceptions =
`

const postfixMaster = `
postlog unix-dgram n - n - 1 postlogd
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
anvil unix - - n - 1 anvil
smtpd pass - - n - - smtpd
127.0.0.1:25 inet n - n - - smtpd
127.0.0.1:26 inet n - n - - smtpd -o smtpd_upstream_proxy_protocol=haproxy
127.0.0.1:27 inet n - n - - smtpd -o smtpd_tls_security_level=none
127.0.0.1:465 inet n - n - - smtpd -o smtpd_tls_wrappermode=yes
127.0.0.1:28 inet n - n - - smtpd -o smtpd_client_connection_count_limit=1
127.0.0.1:29 inet n - n - - smtpd -o smtpd_delay_reject=no -o smtpd_client_restrictions=reject
127.0.0.1:30 inet n - n - 1 postscreen
`

func TestPostfix(t *testing.T) {
	needsRoot(t)
	postfix := debian.Program(t, "postfix", "postfix")
	if !isolated(t) {
		return
	}
	dir := openDir(t)
	ca, cert, key := certificates(t, dir)
	fill(t, dir, "main.cf", postfixMain, "{DIR}", dir, "{CERT}", cert, "{KEY}", key)
	fill(t, dir, "master.cf", postfixMaster)
	owner, err := user.Lookup("postfix")
	if err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.Atoi(owner.Uid)
	data := filepath.Join(dir, "data")
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "queue"), 0o755), os.Mkdir(data, 0o700), os.Chown(data, uid, -1)); err != nil {
		t.Fatal(err)
	}
	log := serve(t, "25", postfix, "-c", dir, "start-fg")
	t.Cleanup(func() {
		if out, err := exec.Command(postfix, "-c", dir, "stop").CombinedOutput(); err != nil {
			t.Errorf("postfix stop: %v\n%s", err, out)
		}
	})
	const greeting = "220 mail.example ESMTP"

	probe(t, "127.0.0.1", "25").want(t, greeting)
	probe(t, "-e", "220 mail.example", "-q", `QUIT\r\n`, "127.0.0.1", "25").want(t, greeting)
	r := probe(t, "--starttls", "smtp", "--ca", ca, "127.0.0.1", "25")
	r.want(t, greeting)
	if r.TLS == nil || !r.TLS.Verified {
		t.Errorf("TLS = %+v", r.TLS)
	}
	probe(t, "--starttls", "smtp", "--ca", ca, "127.0.0.1", "27").fails(t, "tls_failed", "the server does not offer STARTTLS")
	probe(t, "--tls", "--ca", ca, "127.0.0.1", "465").want(t, greeting)
	probe(t, "--proxy", "v1", "127.0.0.1", "26").want(t, greeting)
	probe(t, "--proxy", "v2", "--starttls", "smtp", "--ca", ca, "127.0.0.1", "26").want(t, greeting)
	if said := read(t, log); strings.Contains(said, "lost connection") || !strings.Contains(said, "quit=1") {
		t.Errorf("the log complains:\n%s", said)
	}
	probe(t, "--starttls", "smtp", "127.0.0.1", "25").fails(t, "tls_failed", "unknown authority")
	probe(t, "--tls", "--ca", ca, "127.0.0.1", "25").fails(t, "tls_failed", `the server spoke plain text, not TLS: "220 mail.example ESMTP`)
	compare(t, "Postfix, healthy", "25", "smtp")
	compare(t, "Postfix, where SSH is expected", "25", "", "--protocol", "ssh")
	compare(t, "Postfix, where FTP is expected", "25", "ftp", "--protocol", "ftp")

	hold(t, "127.0.0.1:28", 1)
	probe(t, "127.0.0.1", "28").refuses(t, "421", true)
	compare(t, "Postfix, with too many connections", "28", "smtp")
	probe(t, "--starttls", "smtp", "127.0.0.1", "28").refuses(t, "421", true)
	probe(t, "127.0.0.1", "29").refuses(t, "554", false)
	compare(t, "Postfix, that rejects its client", "29", "smtp")

	// postscreen drops who talks first, and takes its time with the second line.
	if said := read(t, log); strings.Contains(said, "PREGREET") {
		t.Errorf("PREGREET:\n%s", said)
	}
	probe(t, "-e", "220 ", "127.0.0.1", "30").want(t, "220-mail.example waits")
	probe(t, "-s", `HELO x\r\n`, "-e", "250", "127.0.0.1", "30").want(t, "220-mail.example waits")
	if said := read(t, log); strings.Contains(said, "PREGREET") || !strings.Contains(said, "PASS NEW") {
		t.Errorf("PREGREET:\n%s", said)
	}
	probe(t, "--send-first", "-s", `HELO x\r\n`, "-e", "220 ", "127.0.0.1", "30").refuses(t, "521", false)
	for end := time.Now().Add(5 * time.Second); !strings.Contains(read(t, log), "PREGREET"); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Errorf("no PREGREET:\n%s", read(t, log))
			break
		}
	}
}

// refuses checks that the server said so.
func (r result) refuses(t *testing.T, code string, temporary bool) {
	t.Helper()
	if r.Status != "refused_by_server" || r.Exit != 4 || r.Refusal == nil || r.Refusal.Code != code || r.Refusal.Temporary != temporary {
		t.Errorf("%s in phase %s: %s, exit %d, refusal %+v; want %s, temporary: %v", r.Status, r.Phase, r.Error, r.Exit, r.Refusal, code, temporary)
	}
}

const dovecotConfig = `
base_dir = {DIR}/run
state_dir = {DIR}/state
log_path = /dev/stderr
protocols = imap pop3
ssl = yes
ssl_cert = <{CERT}
ssl_key = <{KEY}
haproxy_trusted_networks = 127.0.0.0/8
mail_location = maildir:{DIR}/mail
passdb {
  driver = static
  args = nopassword=y
}
userdb {
  driver = static
  args = uid=nobody gid=nogroup home={DIR}
}
service imap-login {
  {LIMITS}
  inet_listener imap {
    address = 127.0.0.1
    port = 143
  }
  inet_listener imaps {
    address = 127.0.0.1
    port = 993
    ssl = yes
  }
  inet_listener imap_haproxy {
    address = 127.0.0.1
    port = 144
    haproxy = yes
  }
}
service pop3-login {
  inet_listener pop3 {
    address = 127.0.0.1
    port = 110
  }
  inet_listener pop3s {
    port = 0
  }
}
`

func TestDovecot(t *testing.T) {
	needsRoot(t)
	debian.Program(t, "/usr/lib/dovecot/pop3-login", "dovecot-pop3d")
	debian.Program(t, "/usr/lib/dovecot/imap-login", "dovecot-imapd")
	dovecot := debian.Program(t, "dovecot", "dovecot-core")
	if !isolated(t) {
		return
	}
	dir := openDir(t)
	ca, cert, key := certificates(t, dir)
	run := func(t *testing.T, limits string) (log string) {
		t.Helper()
		config := fill(t, dir, "dovecot.conf", dovecotConfig, "{DIR}", dir, "{CERT}", cert, "{KEY}", key, "{LIMITS}", limits)
		return serve(t, "143", dovecot, "-F", "-c", config)
	}
	t.Run("healthy", func(t *testing.T) {
		log := run(t, "")
		testDovecot(t, ca)
		if said := read(t, log); strings.Contains(said, "Connection closed (") || strings.Contains(said, "before auth was ready") || !strings.Contains(said, "Aborted login by logging out") {
			t.Errorf("the log complains:\n%s", said)
		}
		compare(t, "Dovecot, healthy", "143", "imap")
		compare(t, "Dovecot, where SSH is expected", "143", "", "--protocol", "ssh")
		compare(t, "Dovecot, where SMTP is expected", "143", "smtp", "--protocol", "smtp")
	})
	t.Run("queue full", func(t *testing.T) {
		run(t, "process_limit = 1\n service_count = 0\n client_limit = 2")
		waits := make(chan result, 1)
		go func() { waits <- probe(t, "--step", "expect never", "127.0.0.1", "143") }()
		var r result
		for end := time.Now().Add(10 * time.Second); r.Status == "" && time.Now().Before(end); {
			hold(t, "127.0.0.1:143", 1)
			select {
			case r = <-waits:
			case <-time.After(100 * time.Millisecond):
			}
		}
		r.refuses(t, "BYE", false)
	})
}

func testDovecot(t *testing.T, ca string) {
	t.Helper()
	probe(t, "127.0.0.1", "143").want(t, "* OK [CAPABILITY IMAP4rev1")
	probe(t, "127.0.0.1", "110").want(t, "+OK Dovecot")
	probe(t, "--tls", "--ca", ca, "127.0.0.1", "993").want(t, "* OK [CAPABILITY IMAP4rev1")
	for protocol, port := range map[string]string{"imap": "143", "pop3": "110"} {
		r := probe(t, "--starttls", protocol, "--ca", ca, "127.0.0.1", port)
		if r.Status != "ok" || r.TLS == nil || !r.TLS.Verified {
			t.Errorf("%s: %s %s, TLS = %+v", protocol, r.Status, r.Error, r.TLS)
		}
		probe(t, "--starttls", protocol, "127.0.0.1", port).fails(t, "tls_failed", "unknown authority")
	}
	for _, version := range []string{"v1", "v2"} {
		probe(t, "--proxy", version, "127.0.0.1", "144").want(t, "* OK ")
	}
}
