package metrics_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"greetd.example/internal/metrics"
	"greetd.example/internal/test/debian"
	"greetd.example/pkg/service"
)

// sources tell numbers that a test can recognise.
func sources() metrics.Sources {
	return metrics.Sources{
		Version: "v1.4.0", Commit: "943d1b6",
		Started: time.UnixMilli(1764104400250),
		Listeners: func() []service.ListenerStats {
			return []service.ListenerStats{
				{
					Name: "greet", Open: true, Active: 3, Lingering: 40,
					Visits: map[service.Outcome]uint64{
						service.Greeted: 1001, service.Refused: 17, service.HungUp: 5,
						service.TimedOut: 4, service.Cut: 0, service.Failed: 1,
					},
					Reasons: map[service.Outcome]map[service.Reason]uint64{
						service.Refused: {service.ReasonDenied: 14, service.ReasonTLSOurs: 3},
						service.Failed:  {service.ReasonGreeting: 1},
					},
					Bytes: 25000, AcceptErrors: 2,
				},
				{
					Name: `of "quotes"\and` + "\nlines",
					Visits: map[service.Outcome]uint64{
						service.Greeted: 1, service.Refused: 0, service.HungUp: 0,
						service.TimedOut: 0, service.Cut: 0, service.Failed: 0,
					},
					Bytes: 25,
				},
			}
		},
		Limit:        func() int { return 10000 },
		LogDropped:   func() uint64 { return 12 },
		Reloads:      func() (applied, refused uint64) { return 6, 1 },
		ReloadFailed: func() bool { return true },
		Generation:   func() uint64 { return 7 },
		Certificates: func() map[string]time.Time { return map[string]time.Time{"greet": time.Unix(1796083200, 0)} },
	}
}

// scrape returns what Prometheus would get.
func scrape(t *testing.T, m *metrics.Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("%d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

// series returns the lines of a scrape that are greetd's own.
func series(text string) string {
	var own strings.Builder
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "greetd_") {
			own.WriteString(line)
		}
	}
	return own.String()
}

// greeted is a visit that took so long.
func greeted(took time.Duration) service.Visit {
	return service.Visit{Peer: service.Peer{Listener: "greet"}, Outcome: service.Greeted, Took: took}
}

func TestScrape(t *testing.T) {
	m := metrics.New(sources())
	for _, took := range []time.Duration{0, 50 * time.Microsecond, 51 * time.Microsecond, 700 * time.Millisecond, time.Minute} {
		m.Closed(greeted(took))
	}
	m.Closed(service.Visit{Peer: service.Peer{Listener: "greet"}, Outcome: service.TimedOut, Took: 3 * time.Second})
	want, err := os.ReadFile("testdata/scrape.txt")
	if err != nil {
		t.Fatal(err)
	}
	text := scrape(t, m)
	if got := strings.ReplaceAll(series(text), runtime.Version(), "GOVERSION"); got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for _, name := range []string{"go_goroutines", "process_open_fds", "process_resident_memory_bytes"} {
		if !strings.Contains(text, "\n"+name+" ") {
			t.Errorf("%s is missing", name)
		}
	}
	if strings.Contains(text, " # {") {
		t.Error("there are exemplars")
	}
}

// TestScrapersGetTheFormatThatTheyPrefer asks as Prometheus does, and as others do.
func TestScrapersGetTheFormatThatTheyPrefer(t *testing.T) {
	m := metrics.New(sources())
	for name, test := range map[string]struct{ accept, encoding, contentType, last string }{
		"no preference": {"", "", "text/plain; version=0.0.4", "\n"},
		"OpenMetrics":   {"application/openmetrics-text; version=1.0.0; charset=utf-8,*/*;q=0.1", "", "application/openmetrics-text; version=1.0.0", "\n# EOF\n"},
		"protobuf":      {"application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited", "", "application/vnd.google.protobuf", ""},
		"compressed":    {"text/plain", "gzip", "text/plain; version=0.0.4", "\n"},
	} {
		r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
		r.Header.Set("Accept", test.accept)
		r.Header.Set("Accept-Encoding", test.encoding)
		w := httptest.NewRecorder()
		m.Handler().ServeHTTP(w, r)
		body := io.Reader(w.Body)
		if test.encoding != "" {
			unpacked, err := gzip.NewReader(body)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			body = unpacked
		}
		text, err := io.ReadAll(body)
		if err != nil || w.Code != http.StatusOK || !strings.HasPrefix(w.Header().Get("Content-Type"), test.contentType) ||
			w.Header().Get("Content-Encoding") != test.encoding {
			t.Errorf("%s: %d, %v, %v", name, w.Code, w.Header(), err)
		}
		if !strings.Contains(string(text), "greetd_visits_total") || !strings.HasSuffix(string(text), test.last) {
			t.Errorf("%s: got %q", name, text)
		}
	}
}

func TestDurationsAgreeWithTheScrape(t *testing.T) {
	m := metrics.New(sources())
	for _, took := range []time.Duration{time.Microsecond, time.Millisecond, time.Millisecond, 3 * time.Second, time.Hour} {
		m.Closed(greeted(took))
	}
	other := greeted(2 * time.Hour)
	other.Listener = "other"
	m.Closed(other)
	other.Outcome = service.TimedOut
	m.Closed(other) // no client was greeted so slowly
	bounds, counts := m.Durations()
	if len(bounds) != 17 || len(counts) != 18 || counts[17] != 6 {
		t.Fatalf("bounds %v, counts %v; want 17 and all 6 greeted visits in the 18th", bounds, counts)
	}
	for i, bound := range bounds {
		want := uint64(1)
		if bound >= time.Millisecond {
			want = 3
		}
		if bound >= 5*time.Second {
			want = 4
		}
		if counts[i] != want {
			t.Errorf("up to %v: %d visits, want %d", bound, counts[i], want)
		}
	}
}

// TestServerAndScrapeAgree lets a real server greet.
func TestServerAndScrapeAgree(t *testing.T) {
	var server service.Server
	s := sources()
	s.Listeners = server.Stats
	m := metrics.New(s)
	server.Greeter, server.Observer = service.Static("hi\n"), m
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error)
	go func() { served <- server.Serve(service.Listener{Listener: ln, Name: "greet"}) }()

	ask := func() {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if got, err := io.ReadAll(c); err != nil || string(got) != "hi\n" {
			t.Errorf("greeted %q, %v", got, err)
		}
	}
	ask()
	before := series(scrape(t, m))
	for _, outcome := range service.Outcomes() { // those that have not happened, too
		if want := `greetd_visits_total{listener="greet",outcome="` + string(outcome) + `"} `; !strings.Contains(before, want) {
			t.Errorf("no %s in\n%s", want, before)
		}
	}
	for _, outcome := range service.Outcomes() {
		for _, reason := range outcome.Reasons() {
			if want := fmt.Sprintf(`greetd_visits_not_greeted_total{listener="greet",outcome=%q,reason=%q} 0`, outcome, reason); !strings.Contains(before, want) {
				t.Errorf("no %s in\n%s", want, before)
			}
		}
	}
	for range 99 {
		ask()
	}
	if err := server.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	<-served
	after := series(scrape(t, m))
	for _, want := range []string{
		`greetd_visits_total{listener="greet",outcome="greeted"} 100`,
		`greetd_visits_total{listener="greet",outcome="cut"} 0`,
		`greetd_connections{listener="greet",state="active"} 0`,
		`greetd_connections{listener="greet",state="lingering"} 0`,
		`greetd_visit_duration_seconds_count{listener="greet",outcome="greeted"} 100`,
		`greetd_visit_duration_seconds_count{listener="greet",outcome="timed_out"} 0`,
		"greetd_greeting_bytes_total 300",
	} {
		if !strings.Contains(after, want+"\n") {
			t.Errorf("no %s in\n%s", want, after)
		}
	}
}

func TestTimingAVisitDoesNotAllocate(t *testing.T) {
	m := metrics.New(sources())
	v := greeted(80 * time.Microsecond)
	if n := testing.AllocsPerRun(1000, func() { m.Opened(v.Peer); m.Closed(v) }); n != 0 {
		t.Errorf("%v allocations a visit, want none", n)
	}
}

func TestPromtoolFindsNothing(t *testing.T) {
	promtool := debian.Program(t, "promtool", "prometheus")
	m := metrics.New(sources())
	m.Closed(greeted(time.Millisecond))
	cmd := exec.CommandContext(t.Context(), promtool, "check", "metrics")
	cmd.Stdin = strings.NewReader(scrape(t, m))
	out, err := cmd.CombinedOutput()
	if err != nil || len(bytes.TrimSpace(out)) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}

// TestPrometheusScrapes lets a real Prometheus scrape, and asks it what it has seen.
func TestPrometheusScrapes(t *testing.T) {
	prometheus := debian.Program(t, "prometheus", "prometheus")
	m := metrics.New(sources())
	for range 100 {
		m.Closed(greeted(80 * time.Microsecond))
	}
	target := httptest.NewServer(m.Handler())
	defer target.Close()

	dir, address := t.TempDir(), freeAddress(t)
	config := "scrape_configs:\n- {job_name: greetd, scrape_interval: 1s, static_configs: [{targets: ['" + target.Listener.Addr().String() + "']}]}\n"
	if err := os.WriteFile(dir+"/prometheus.yml", []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var log bytes.Buffer
	cmd := exec.CommandContext(ctx, prometheus, "--config.file="+dir+"/prometheus.yml", "--storage.tsdb.path="+dir+"/data", "--web.listen-address="+address)
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 30 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cancel()
		cmd.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	}()

	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for query, want := range map[string]string{
		`sum(greetd_visits_total)`:                                      `"1029"`,
		`greetd_visits_total{outcome="refused",listener="greet"}`:       `"17"`,
		`sum(greetd_connections{state="lingering"})`:                    `"40"`,
		`greetd_reloads_total{result="failure"}`:                        `"1"`,
		`count(greetd_build_info{version="v1.4.0",revision="943d1b6"})`: `"1"`,
		`histogram_quantile(0.5, greetd_visit_duration_seconds_bucket{outcome="greeted", listener="greet"}) > bool 0.00005`: `"1"`,
	} {
		var got string
		for ctx.Err() == nil && !strings.Contains(got, want) {
			got = answerOf(ctx, address, query)
			select {
			case <-again.C:
			case <-ctx.Done():
			}
		}
		if ctx.Err() != nil {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
}

// answerOf asks Prometheus once, and returns what it says, or why it does not.
func answerOf(ctx context.Context, address, query string) string {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/api/v1/query?query="+url.QueryEscape(query), nil)
	if err != nil {
		return err.Error()
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return err.Error()
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(answer.Body)
	return string(text)
}

// freeAddress returns an address that nobody listens on at the moment.
func freeAddress(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func BenchmarkVisit(b *testing.B) {
	m := metrics.New(sources())
	v := greeted(80 * time.Microsecond)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			m.Closed(v)
		}
	})
}

func BenchmarkScrape(b *testing.B) {
	handler := metrics.New(sources()).Handler()
	r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	b.ReportAllocs()
	for b.Loop() {
		handler.ServeHTTP(httptest.NewRecorder(), r)
	}
}

func BenchmarkNew(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		metrics.New(sources())
	}
}
