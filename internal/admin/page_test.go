package admin_test

import (
	"bufio"
	"crypto/sha256"
	"encoding/base64"
	"regexp"
	"strings"
	"testing"
	"time"

	"greetd.example/internal/admin"
	"greetd.example/internal/logging"
)

// shown is a daemon with much to show.
func shown() admin.Daemon {
	d := whole()
	d.Status = sample
	d.Durations = new(pace).daemon().Durations
	return d
}

func TestPageShowsTheStatus(t *testing.T) {
	d := shown()
	d.Problems = func() []logging.Problem {
		return []logging.Problem{{At: time.Date(2026, 11, 23, 2, 0, 0, 0, time.UTC), Level: "warning", Message: "accepting on local fails"}}
	}
	unix, tcp := start(t, d)
	for _, address := range []string{unix, tcp} {
		got := ask(t, address, "GET", "/", "localhost", "")
		if got.code != 200 || got.header.Get("Content-Type") != "text/html; charset=utf-8" {
			t.Errorf("%d, %v", got.code, got.header)
		}
		for _, want := range []string{
			"<title>greetd on edge-3: running</title>", "v1.4.0 (943d1b6c0ffe), process 4711, up 3d 4h",
			"<b>123,456,801</b> greeted", "[::]:10000", "socket unit", "full", "unix:/run/greetd/greet.sock",
			"too many open files", "timeouts.write: needs a unit", "2026-11-20 10:30:00 UTC", "accepting on local fails",
			"greet: certificate 20 days left, valid until 2026-12-14 09:30:00 UTC", "4,321 hung up (client_left), 5 timed out (no_proxy_header)", "10,000 connections", "65,536 open files", "1 entry lost", `<a href="/metrics">`,
		} {
			if !strings.Contains(got.body, want) {
				t.Errorf("the page lacks %q", want)
			}
		}
	}
	if got := ask(t, tcp, "HEAD", "/", "localhost", ""); got.code != 200 || got.body != "" {
		t.Errorf("HEAD: %d, %q", got.code, got.body)
	}
}

// TestPagePolicy holds the policy against what the page is made of.
func TestPagePolicy(t *testing.T) {
	_, tcp := start(t, shown())
	got := ask(t, tcp, "GET", "/", "localhost", "")
	policy := got.header.Get("Content-Security-Policy")
	if !strings.HasPrefix(policy, "default-src 'none'; ") || strings.Contains(policy, "unsafe") || strings.Contains(policy, "http") {
		t.Errorf("policy %q, want one that forbids what it does not name", policy)
	}
	inline := regexp.MustCompile(`(?s)<(style|script)[^>]*>(.*?)</(?:style|script)>`).FindAllStringSubmatch(got.body, -1)
	if len(inline) != 2 {
		t.Fatalf("%d inline parts, want one style and one script", len(inline))
	}
	for _, part := range inline {
		sum := sha256.Sum256([]byte(part[2]))
		if want := part[1] + "-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"; !strings.Contains(policy, want) {
			t.Errorf("policy %q lacks %s", policy, want)
		}
	}
	for _, forbidden := range []string{` style="`, ` onclick="`, ` onload="`, "innerHTML", "eval("} {
		if strings.Contains(got.body, forbidden) {
			t.Errorf("the page has %s, which its policy forbids", forbidden)
		}
	}
	// Names of namespaces are not fetched.
	rest := strings.NewReplacer("http://www.w3.org/2000/svg", "").Replace(got.body)
	if at := regexp.MustCompile(`(?i)(https?:)?//[a-z0-9.-]+\.[a-z]+|<(link|img|script)[^>]*(src|href)="(?:[^d]|d[^a])`).FindString(rest); at != "" {
		t.Errorf("the page asks for %s", at)
	}
}

func TestPageIsNotSteeredByWhatItShows(t *testing.T) {
	const evil = `</style></script><script>alert(1)</script><img src=x onerror=alert(1)>"'`
	d := shown()
	d.Status = func() admin.Status {
		s := sample()
		s.Hostname, s.Version, s.Configuration.Path, s.Configuration.LastReload.Error = evil, evil, evil, evil
		s.Listeners[1].Name, s.Listeners[1].Address, s.Listeners[1].Trouble = evil, evil, evil
		s.State, s.Commit, s.Log.Output, s.Log.Level = evil, evil[8:], evil, evil
		s.Listeners[1].Origin, s.Listeners[1].State = evil, evil
		return s
	}
	d.Problems = func() []logging.Problem { return []logging.Problem{{Level: evil, Message: evil}} }
	unix, _ := start(t, d)
	got := ask(t, unix, "GET", "/", "", "")
	if strings.Contains(got.body, "<img") || strings.Count(got.body, "<script") != 1 || strings.Count(got.body, "alert(1)") != 34 {
		t.Errorf("something came through, or %d is not 34:\n%s", strings.Count(got.body, "alert(1)"), got.body)
	}
}

// TestPageIsWhole looks for marks that nothing was put in the place of.
func TestPageIsWhole(t *testing.T) {
	for name, status := range map[string]func() admin.Status{
		"much": sample,
		"none": func() admin.Status { return admin.Status{} },
	} {
		d := shown()
		d.Status = status
		unix, _ := start(t, d)
		body := ask(t, unix, "GET", "/", "", "").body
		if found := regexp.MustCompile(`\{\{.*|%!.*|%[sdv]`).FindString(body); found != "" {
			t.Errorf("%s: the page has %q", name, found)
		}
		for _, tag := range []string{"title", "section", "table", "tbody", "dl", "nav", "main", "header", "style", "script"} {
			if opened, closed := strings.Count(body, "<"+tag+">")+strings.Count(body, "<"+tag+" "), strings.Count(body, "</"+tag+">"); opened == 0 || opened != closed {
				t.Errorf("%s: %d <%s> and %d </%s>", name, opened, tag, closed, tag)
			}
		}
	}
}

func TestWebPagesChangeNothing(t *testing.T) {
	d := whole()
	d.Reload = nil
	d.SetLevel = func(string) error { t.Error("level set"); return nil }
	unix, tcp := start(t, d)
	for _, address := range []string{unix, tcp} {
		for _, origin := range []string{"null", "http://localhost", "https://evil.example"} {
			c := dial(t, address)
			if _, err := c.Write([]byte("POST /log-level HTTP/1.1\r\nHost: localhost\r\nOrigin: " + origin + "\r\nContent-Length: 5\r\n\r\ndebug")); err != nil {
				t.Fatal(err)
			}
			if got := read(t, bufio.NewReader(c), "POST"); got.code != 403 || got.body != "web pages can change nothing: use greetd's commands, or curl\n" {
				t.Errorf("Origin %s at %s: %d %q, want 403", origin, address, got.code, got.body)
			}
		}
	}
}
