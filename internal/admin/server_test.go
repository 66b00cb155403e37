package admin_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"greetd.example/internal/admin"
	"greetd.example/internal/logging"
	"greetd.example/pkg/systemd"
)

// whole is a daemon in which all is well.
func whole() admin.Daemon {
	return admin.Daemon{
		Status:   func() admin.Status { return admin.Status{State: systemd.Running} },
		Reload:   func(context.Context) admin.ReloadResult { return admin.ReloadResult{OK: true, Generation: 2} },
		SetLevel: func(string) error { return nil },
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintln(w, "greetd_config_generation 1")
		}),
		Ready:     func() error { return nil },
		Healthy:   func() error { return nil },
		Problems:  func() []logging.Problem { return nil },
		Durations: func() ([]time.Duration, []uint64) { return nil, []uint64{0} },
		Failed:    func(error) {},
	}
}

func TestPathsAndMethods(t *testing.T) {
	unix, tcp := start(t, whole())
	for _, test := range []struct {
		address, method, path, body string
		code                        int
		allow, want                 string
	}{
		{unix, "GET", "/status", "", 200, "", `"state": "running"`},
		{unix, "HEAD", "/status", "", 200, "", ""},
		{unix, "GET", "/metrics", "", 200, "", "greetd_config_generation 1"},
		{unix, "GET", "/healthz", "", 200, "", "ok"},
		{unix, "GET", "/readyz?verbose", "", 200, "", "ok"},
		{unix, "POST", "/reload", "", 200, "", `"generation": 2`},
		{unix, "POST", "/log-level", "debug\n", 200, "", "log level is debug until the next reload"},
		{unix, "POST", "/log-level", " \n", 400, "", "the body must be the level, as in curl --data debug"},
		{unix, "POST", "/status", "", 405, "GET, HEAD", `/status takes GET, not "POST"`},
		{unix, "DELETE", "/status", "", 405, "GET, HEAD", `/status takes GET, not "DELETE"`},
		{unix, "GET", "/reload", "", 405, "POST", `/reload takes POST, not "GET"`},
		{unix, "GET", "/../status", "", 404, "", `there is no "/../status" here; there is / /healthz /history /log-level /metrics /readyz /reload /status`},
		{unix, "GET", "/status/", "", 404, "", "there is no"},
		{unix, "GET", "/" + strings.Repeat("x", 4000), "", 404, "", `xxx"... here`},

		{tcp, "GET", "/status", "", 200, "", `"state": "running"`},
		{tcp, "HEAD", "/metrics", "", 200, "", ""},
		{tcp, "GET", "/healthz", "", 200, "", "ok"},
		{tcp, "GET", "/readyz", "", 200, "", "ok"},
		{tcp, "POST", "/reload", "", 405, "GET, HEAD", "over TCP nothing can be changed: use greetd's commands, or the unix socket"},
		{tcp, "POST", "/log-level", "debug", 405, "GET, HEAD", "over TCP nothing can be changed"},
		{tcp, "POST", "/nothing", "", 405, "GET, HEAD", "over TCP nothing can be changed"},
		{tcp, "GET", "/reload", "", 405, "POST", "/reload takes POST"},
		{tcp, "PUT", "/log-level", "debug", 405, "GET, HEAD", "over TCP nothing can be changed"},
		{tcp, "OPTIONS", "/status", "", 405, "GET, HEAD", "over TCP nothing can be changed"},
		{tcp, "GET", "/nothing", "", 404, "", "there is no"},
	} {
		got := ask(t, test.address, test.method, test.path, "localhost", test.body)
		if got.code != test.code || got.header.Get("Allow") != test.allow || !strings.Contains(got.body, test.want) {
			t.Errorf("%s %.30s at %s: %d, Allow %q, %q; want %d, Allow %q, %q", test.method, test.path, test.address,
				got.code, got.header.Get("Allow"), got.body, test.code, test.allow, test.want)
		}
		if test.method == "HEAD" && (got.body != "" || got.length <= 0) {
			t.Errorf("HEAD %s: length %d and body %q, want the length alone", test.path, got.length, got.body)
		}
	}
}

func TestOverTCPNothingChanges(t *testing.T) {
	d := whole()
	d.Reload = func(context.Context) admin.ReloadResult { t.Error("reloaded"); return admin.ReloadResult{} }
	d.SetLevel = func(string) error { t.Error("level set"); return nil }
	_, tcp := start(t, d)
	for _, method := range []string{"POST", "PUT", "PATCH", "GET", "post", "HEAD"} {
		for _, path := range []string{"/reload", "/log-level", "//reload", "/reload/", "http://x/reload"} {
			if got := ask(t, tcp, method, path, "localhost", "debug"); got.code < 400 {
				t.Errorf("%s %s over TCP: %d: %s", method, path, got.code, got.body)
			}
		}
	}
}

func TestWebPagesAreKeptOut(t *testing.T) {
	unix, tcp := start(t, whole())
	for _, test := range []struct {
		address, host string
		code          int
	}{
		{tcp, tcp, 200},
		{tcp, "127.0.0.1", 200},
		{tcp, "[::1]:9101", 200},
		{tcp, "[::1]", 200},
		{tcp, "localhost:9101", 200},
		{tcp, "prometheus-target", 200},
		{tcp, "rebound.example", 421},
		{tcp, "rebound.example:9101", 421},
		{tcp, "127.0.0.1.rebound.example", 421},
		{tcp, "localhost.", 421},
		{unix, "rebound.example", 421}, // through ssh -L
	} {
		if got := ask(t, test.address, "GET", "/status", test.host, ""); got.code != test.code {
			t.Errorf("Host %s at %s: %d %q, want %d", test.host, test.address, got.code, got.body, test.code)
		}
	}
}

func TestProbesTellTheReason(t *testing.T) {
	d := whole()
	d.Ready = func() error { return errors.New("draining since 12:00:00") }
	d.Healthy = func() error { return errors.New("listener greet does not answer") }
	unix, _ := start(t, d)
	for path, want := range map[string]string{
		"/readyz":  "draining since 12:00:00\n",
		"/healthz": "listener greet does not answer\n",
	} {
		if got := ask(t, unix, "GET", path, "", ""); got.code != 503 || got.body != want {
			t.Errorf("%s: %d %q, want 503 %q", path, got.code, got.body, want)
		}
	}
}

func TestReloadResultHasACode(t *testing.T) {
	for _, test := range []struct {
		result admin.ReloadResult
		code   int
	}{
		{admin.ReloadResult{OK: true, Generation: 2, Changed: []string{"greeting"}}, 200},
		{admin.ReloadResult{Generation: 1, Problems: []string{"greeting: <&>"}}, 422},
		{admin.ReloadResult{Unavailable: true, Message: "the daemon is draining"}, 503},
	} {
		d := whole()
		d.Reload = func(context.Context) admin.ReloadResult { return test.result }
		unix, _ := start(t, d)
		got := ask(t, unix, "POST", "/reload", "", "")
		if got.code != test.code || got.header.Get("Content-Type") != "application/json" {
			t.Errorf("%+v: %d, want %d", test.result, got.code, test.code)
		}
		if strings.Contains(got.body, "null") || strings.Contains(got.body, `\u`) {
			t.Errorf("the result is not kind to readers:\n%s", got.body)
		}
		var result admin.ReloadResult
		if err := json.Unmarshal([]byte(got.body), &result); err != nil || result.Generation != test.result.Generation {
			t.Errorf("%s: %v", got.body, err)
		}
	}
}

func TestPanicIsAnsweredAndReported(t *testing.T) {
	d := whole()
	received := make(chan error, 2) // also of the history
	d.Failed = func(err error) { received <- err }
	d.Status = func() admin.Status { panic("no such listener") }
	unix, _ := start(t, d)
	got := ask(t, unix, "GET", "/status", "", "")
	if got.code != 500 || got.body != "greetd has a fault here; its log has the details\n" {
		t.Errorf("%d %q", got.code, got.body)
	}
	if err := (<-received).Error(); !strings.Contains(err, "no such listener") || !strings.Contains(err, "server_test.go") {
		t.Errorf("received %q, want the panic and its stack", err)
	}
}
