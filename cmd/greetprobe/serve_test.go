package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"greetd.example/internal/exporter"
	"greetd.example/internal/test/debian"
	"greetd.example/internal/test/manpage"
	"greetd.example/internal/test/testserver"
	"greetd.example/pkg/probe"
)

// start serves the configuration in text, and returns where.
func start(t *testing.T, text string, o exporter.Options) (address string, e *exporter.Exporter) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "exporter.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	config, err := readConfig(file)
	if err != nil {
		t.Fatal(err)
	}
	if o.MaxProbes == 0 {
		o.MaxProbes = 100
	}
	e = exporter.New(o, config)
	server := httptest.NewServer(e)
	t.Cleanup(server.Close)
	return server.URL, e
}

// get asks for a path, with headers in pairs.
func get(t *testing.T, address string, header ...string) (code int, body string, answer http.Header) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text), response.Header
}

// probeURL is where to ask for a probe.
func probeURL(address, target, module string) string {
	return address + "/probe?" + url.Values{"target": {target}, "module": {module}}.Encode()
}

// samples reads the text format, each sample with its labels.
func samples(text string) map[string]float64 {
	all := make(map[string]float64)
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "} "); ok && line[0] != '#' {
			all[name+"}"], _ = strconv.ParseFloat(value, 64)
		} else if name, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok && line[0] != '#' {
			all[name], _ = strconv.ParseFloat(value, 64)
		}
	}
	return all
}

// speakTLS greets over TLS with that certificate.
func speakTLS(pair tls.Certificate, text string) testserver.Behavior {
	return func(c net.Conn) {
		secure := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{pair}})
		io.WriteString(secure, text)
		io.Copy(io.Discard, secure)
	}
}

// blackboxModules are the modules of ourModules, for blackbox_exporter.
const blackboxModules = `modules:
  connect: {prober: tcp, timeout: 2s}
  smtp: {prober: tcp, timeout: 2s, tcp: {query_response: [{expect: "^220.*ESMTP"}]}}
  tls: {prober: tcp, timeout: 2s, tcp: {tls: true, tls_config: {ca_file: CA, server_name: mail.example}, query_response: [{expect: "^220"}]}}
`

const ourModules = `modules:
  connect: {timeout: 2s, connect_only: true}
  smtp: {timeout: 2s, regex: "^220.*ESMTP"}
  tls: {timeout: 2s, tls: true, tls_config: {ca_file: CA, server_name: mail.example}, regex: "^220"}
`

// TestBlackboxExporterAgrees asks the real blackbox_exporter and this one for the same
// servers: both say the same in each metric that both have.
func TestBlackboxExporterAgrees(t *testing.T) {
	program := debian.Program(t, "prometheus-blackbox-exporter", "prometheus-blackbox-exporter")
	ca := testserver.NewAuthority(t)
	dir := t.TempDir()
	withCA := strings.NewReplacer("CA", ca.WriteFile(t, dir))
	good := ca.Sign(t, &x509.Certificate{DNSNames: []string{"mail.example"}})
	expired := ca.Sign(t, &x509.Certificate{DNSNames: []string{"mail.example"}, NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(-24 * time.Hour)})
	ours, _ := start(t, withCA.Replace(ourModules), exporter.Options{})
	theirs := startBlackbox(t, program, filepath.Join(dir, "blackbox.yml"), withCA.Replace(blackboxModules))

	for _, c := range []struct {
		name, module, target string
		success              float64
		more                 string // that only ours says
	}{
		{"healthy", "smtp", testserver.Listen(t, testserver.Greet("220 mx ESMTP Postfix\r\n")).Addr, 1, `probe_greeting_info{protocol="smtp",software="Postfix",version=""}`},
		{"connected", "connect", testserver.Listen(t, testserver.Silent).Addr, 1, "probe_tcp_rtt_seconds"},
		{"refused", "smtp", nobody(t), 0, `probe_status{phase="connect",status="refused"}`},
		{"refused by the server", "smtp", testserver.Listen(t, testserver.Greet("421 too many connections\r\n")).Addr, 0, `probe_refused_by_server{code="421",protocol="",temporary="true"}`},
		{"timeout", "smtp", testserver.Listen(t, testserver.Silent).Addr, 0, `probe_status{phase="greeting",status="no_greeting"}`},
		{"wrong banner", "smtp", testserver.Listen(t, testserver.GreetAndClose("SSH-2.0-OpenSSH_9.9\r\n")).Addr, 0, `probe_status{phase="match",status="mismatch"}`},
		{"TLS", "tls", testserver.Listen(t, speakTLS(good, "220 mx ESMTP\r\n")).Addr, 1, "probe_ssl_certificate_expiry"},
		{"TLS expired", "tls", testserver.Listen(t, speakTLS(expired, "220 mx ESMTP\r\n")).Addr, 0, "probe_ssl_certificate_expiry"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, text, _ := get(t, probeURL(ours, c.target, c.module))
			our := samples(text)
			_, text, _ = get(t, probeURL(theirs, c.target, c.module))
			their := samples(text)
			for _, name := range []string{"probe_success", "probe_failed_due_to_regex", "probe_ip_protocol", "probe_ip_addr_hash", "probe_ssl_earliest_cert_expiry", `probe_tls_version_info{version="TLS 1.3"}`} {
				value, both := their[name]
				if mine, ok := our[name]; both && (!ok || mine != value) {
					t.Errorf("%s is %v (there: %v), and blackbox_exporter's is %v", name, mine, ok, value)
				}
			}
			if our["probe_success"] != c.success {
				t.Errorf("probe_success is %v", our["probe_success"])
			}
			if _, ok := our[c.more]; !ok {
				t.Errorf("there is no %s:\n%v", c.more, our)
			}
			if _, ok := their[c.more]; ok {
				t.Errorf("blackbox_exporter has %s too", c.more)
			}
			for _, name := range slices.Sorted(maps.Keys(our)) {
				if _, ok := their[name]; !ok {
					t.Logf("only here: %s %v", name, our[name])
				}
			}
		})
	}
}

// startBlackbox starts blackbox_exporter, and returns its address when it answers.
func startBlackbox(t *testing.T, program, file, config string) string {
	t.Helper()
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	address := nobody(t)
	ctx, cancel := context.WithCancel(t.Context())
	cmd := exec.CommandContext(ctx, program, "--config.file="+file, "--web.listen-address="+address)
	var log strings.Builder
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	})
	target, err := probe.ParseTarget(address)
	if err != nil {
		t.Fatal(err)
	}
	p := probe.Probe{ConnectOnly: true}
	if r := p.Wait(t.Context(), target, 30*time.Second, nil); r.Status != probe.OK {
		t.Fatalf("blackbox_exporter does not start: %v", r.Err)
	}
	return "http://" + address
}

// TestServeAnswers is what each request gets.
func TestServeAnswers(t *testing.T) {
	greets := testserver.Listen(t, testserver.Greet("220 ready\r\n")).Addr
	_, port, _ := net.SplitHostPort(greets)
	socket := filepath.Join(t.TempDir(), "s")
	testserver.ListenOn(t, "unix", socket, testserver.Greet("220 ready\r\n"))
	address, _ := start(t, `
modules:
  smtp: &smtp {protocol: smtp}
  ssh: {<<: *smtp, protocol: ssh}
allow:
  targets: [127.0.0.0/8, "*.Listed.example"]
  ports: [`+port+`, 1-2]
`, exporter.Options{})
	for _, c := range []struct {
		query string
		code  int
		want  string
	}{
		{"target=" + greets, 200, "\nprobe_success 1\n"},
		{"target=" + greets + "&module=smtp", 200, "\nprobe_success 1\n"},
		{"target=" + greets + "&module=ssh", 200, "\nprobe_success 0\n"},
		{"target=" + greets + "&debug=true", 200, `"status": "ok"`},
		{"target=localhost:" + port + "&module=smtp", 200, "\nprobe_success 1\n"},
		{"target=%5B::ffff:127.0.0.1%5D:" + port, 200, "\nprobe_success 1\n"},
		{"target=x.listed.example:1", 200, "\nprobe_success 0\n"},
		{"", 400, "there is no target"},
		{"target=127.0.0.1", 400, "write HOST:PORT"},
		{"target=" + greets + "&module=nosuch", 400, `there is no module "nosuch"; use one of greeting, smtp, ssh`},
		{"target=192.0.2.1:" + port, 403, "may not be probed"},
		{"target=x.listed.example[192.0.2.1]:" + port, 403, "may not be probed"},
		{"target=127.0.0.1:3", 403, "may not be probed"},
		{"target=unix:" + socket, 403, "may not be probed"},
	} {
		if code, body, _ := get(t, address+"/probe?"+c.query); code != c.code || !strings.Contains(body, c.want) {
			t.Errorf("%s: %d, want %d and %q:\n%s", c.query, code, c.code, c.want, body)
		}
	}
	// A name is as good as its addresses.
	elsewhere, _ := start(t, "allow: {targets: 192.0.2.0/24}", exporter.Options{})
	if code, body, _ := get(t, probeURL(elsewhere, "localhost:"+port, "")); code != http.StatusForbidden {
		t.Errorf("localhost, where 192.0.2.0/24 is allowed: %d\n%s", code, body)
	}
	_, text, _ := get(t, address+"/metrics")
	own := samples(text)
	for name, want := range map[string]float64{
		`greetprobe_probes_total{module="greeting",status="ok"}`: 3, `greetprobe_probes_in_flight`: 0,
		`greetprobe_requests_refused_total{reason="forbidden"}`: 4, `greetprobe_requests_refused_total{reason="module"}`: 1,
		`greetprobe_requests_refused_total{reason="request"}`: 2, `greetprobe_config_last_reload_successful`: 1,
	} {
		if own[name] != want {
			t.Errorf("%s is %v, want %v", name, own[name], want)
		}
	}
	_, page, header := get(t, address+"/")
	if !strings.Contains(page, "<form") || !strings.Contains(page, "wrong_protocol") || !strings.Contains(header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("the page lacks something:\n%s", page)
	}
	_, open, header := get(t, probeURL(address, greets, ""), "Accept", "application/openmetrics-text")
	if !strings.HasSuffix(open, "# EOF\n") || !strings.HasPrefix(header.Get("Content-Type"), "application/openmetrics-text") {
		t.Errorf("no OpenMetrics: %s\n%s", header.Get("Content-Type"), open)
	}
	var documented []string
	for _, word := range manpage.Read(t, "greetprobe.1").Section(t, "Metrics of serve").Words("Li") {
		name, _, _ := strings.Cut(word, "{")
		documented = append(documented, name)
	}
	manpage.Same(t, "metrics of serve", documented, namesOf(own, resultNames()))
}

// resultNames are the metrics of a probe in which nothing is missing.
func resultNames() map[string]float64 {
	r := full()
	r.Protocol, r.Status, r.TLS.Version = "smtp", probe.OK, "TLS 1.3"
	recorder := httptest.NewRecorder()
	exporter.WriteMetrics(recorder, httptest.NewRequest(http.MethodGet, "/probe", http.NoBody), r)
	return samples(recorder.Body.String())
}

// namesOf are the names of ours without labels, once each.
func namesOf(all ...map[string]float64) (names []string) {
	for _, some := range all {
		for name := range some {
			name, _, _ = strings.Cut(name, "{")
			if regexp.MustCompile(`^(greetprobe|probe)_`).MatchString(name) && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// TestServeRespectsTheScrape: a probe ends before the timeout of its scrape, and more than
// MaxProbes get 503.
func TestServeRespectsTheScrape(t *testing.T) {
	silent := testserver.Listen(t, testserver.Silent)
	address, _ := start(t, "", exporter.Options{MaxProbes: 1, TimeoutOffset: 9500 * time.Millisecond})
	began := time.Now()
	_, text, _ := get(t, probeURL(address, silent.Addr, ""), "X-Prometheus-Scrape-Timeout-Seconds", "10")
	if took := time.Since(began); took < 400*time.Millisecond || took > 8*time.Second || samples(text)["probe_success"] != 0 {
		t.Errorf("took %v, want half a second:\n%s", took, text)
	}
	if code, body, _ := get(t, probeURL(address, silent.Addr, ""), "X-Prometheus-Scrape-Timeout-Seconds", "soon"); code != http.StatusBadRequest {
		t.Errorf("%d: %s", code, body)
	}

	first := make(chan struct{})
	go func() {
		defer close(first)
		get(t, probeURL(address, silent.Addr, ""), "X-Prometheus-Scrape-Timeout-Seconds", "12")
	}()
	for silent.Visits.Load() < 2 {
		time.Sleep(time.Millisecond)
	}
	code, body, header := get(t, probeURL(address, silent.Addr, ""))
	if code != http.StatusServiceUnavailable || header.Get("Retry-After") == "" {
		t.Errorf("a second probe: %d, Retry-After %q: %s", code, header.Get("Retry-After"), body)
	}
	<-first
}

// TestServeConfigMistakes are those of a file: each has its line and a remedy.
func TestServeConfigMistakes(t *testing.T) {
	for text, want := range map[string]string{
		"modules: {a: {protcol: smtp}}":                                     `1: module "a": unknown key "protcol"; did you mean protocol?`,
		"modules:\n  a:\n    timeout: 5":                                    `3: module "a": timeout: must be a duration with its unit, such as 5s`,
		"modules:\n  a:\n    timeout: 0s":                                   `3: module "a": timeout 0s: must be more than 0`,
		"modules:\n  a:\n    max_bytes: 0":                                  `3: module "a": max_bytes 0: must be between 1`,
		"modules:\n  a:\n    tls: yes":                                      `3: module "a": tls: must be true or false`,
		"modules:\n  a:\n    tls: true\n    tls: true":                      `4: module "a": "tls" is there twice; remove one of them`,
		"modules:\n  a:\n    tls_config: {server_name: x}":                  `3: module "a": tls_config.server_name needs tls or starttls`,
		"modules:\n  a:\n    tls: true\n    tls_config: {ca_file: /nosuch}": `4: module "a": tls_config.ca_file: open /nosuch: no such file or directory`,
		"modules:\n  a:\n    query_response: []":                            `3: module "a": unknown key "query_response"; write steps, `,
		"modules:\n  a:\n    prober: tcp":                                   `3: module "a": unknown key "prober"; every module is of TCP here`,
		"modules:\n  a:\n    steps:\n      - expect: (":                     `4: module "a": steps: expect "(": missing closing )`,
		"modules:\n  a:\n    steps: [{send: 'PONG ${1}'}]":                  `3: module "a": steps: send: nothing is put in the place of ${...} here`,
		"modules:\n  a:\n    ip_protocol: 4":                                `3: module "a": ip_protocol: must be ip4 or ip6`,
		"modules: 1":                                                        `1: modules: must be keys with values`,
		"allow: {ports: []}":                                                `1: allow: ports: an empty list allows nothing`,
		"allow: {ports: 70000}":                                             `1: allow: ports: "70000" is not a port or a range; write 25 or`,
		"allow: {targets: ['a:25']}":                                        `1: allow: targets: "a:25" is not a network, address, host name`,
		"modules: {a: {}}\n---\nmodules: {b: {}}\n":                         `2: a second document begins here; put everything into the first`,
		"modules: {a: {}}\n---\n":                                           `2: a second document begins here`,
		"modules: [":                                                        ` line 1: did not find expected node content`,
	} {
		file := filepath.Join(t.TempDir(), "exporter.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readConfig(file); err == nil || !strings.Contains(err.Error(), file+":"+want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

// TestServeOverTLS: exporter-toolkit's file gives TLS and passwords.
func TestServeOverTLS(t *testing.T) {
	ca, dir := testserver.NewAuthority(t), t.TempDir()
	testserver.WritePair(t, dir, ca.Sign(t, &x509.Certificate{DNSNames: []string{"localhost"}}))
	file := filepath.Join(dir, "web.yaml")
	// The password is "fakepassword".
	text := "tls_server_config: {cert_file: cert.pem, key_file: key.pem}\n" +
		"basic_auth_users: {prometheus: $2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := exporter.CheckWebConfig(file); err != nil {
		t.Fatal(err)
	}
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &exporter.Server{Handler: exporter.New(exporter.Options{MaxProbes: 1}, builtinConfig()), WebConfigFile: file, Log: slog.New(slog.DiscardHandler)}
	done := make(chan error, 1)
	go func() { done <- server.Serve(ln) }()
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool(), ServerName: "localhost"}}}
	for password, want := range map[string]int{"wrong": http.StatusUnauthorized, "fakepassword": http.StatusOK} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+ln.Addr().String()+"/metrics", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		request.SetBasicAuth("prometheus", password)
		answer, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != want {
			t.Errorf("password %s: %d, want %d", password, answer.StatusCode, want)
		}
	}
	client.CloseIdleConnections()
	if err := server.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	<-done

	if err := os.WriteFile(file, []byte("tls_server_cofig: {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := exporter.CheckWebConfig(file); err == nil || !strings.Contains(err.Error(), file+": line 1: field tls_server_cofig not found") {
		t.Errorf("an unknown key: %v", err)
	}
}

// TestManualKnowsEachModuleKey holds greetprobe(1) against the keys of modules, and each
// key against a flag.
func TestManualKnowsEachModuleKey(t *testing.T) {
	var keys, flags []string
	for _, k := range moduleKeys {
		keys, flags = append(keys, k), append(flags, flagOf(k))
	}
	for _, k := range tlsConfigKeys {
		keys, flags = append(keys, "tls_config."+k), append(flags, flagOf(k))
	}
	for _, key := range structuredKeys {
		if key != "tls_config" {
			keys = append(keys, key)
		}
	}
	manpage.Same(t, "keys of a module", manpage.Read(t, "greetprobe.1").Section(t, "Modules").Words("Li"), keys)

	var f probeFlags
	var of []string
	probeCmd := newServe(t.Context(), streams{})
	f.register(probeCmd)
	for _, name := range flagsOf(probeCmd) {
		name, long := strings.CutPrefix(name, "--")
		// Not those of serve itself, nor those with a key of another form.
		if !long || strings.Contains(name, ".") || slices.Contains([]string{"help", "reload", "max-probes", "timeout-offset", "step", "steps", "ipv4", "ipv6", "verbose"}, name) {
			continue
		}
		of = append(of, name)
	}
	manpage.Same(t, "flags that a module has", flags, of)
}

// The example that is installed is good.
func TestServeExample(t *testing.T) {
	config, err := readConfig("../../deploy/prometheus/exporter.yaml")
	if err != nil || len(config.Modules) < 4 {
		t.Errorf("%v, %v", config, err)
	}
}
