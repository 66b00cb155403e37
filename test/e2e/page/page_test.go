// Package page_test looks at the status page as people do: with a browser, of a greetd
// that runs.
package page_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"greetd.example/internal/admin"
	"greetd.example/internal/browser"
)

const wantedEnv = "GREETD_E2E" // set: somebody wants these tests, which take a minute

// greetd is the program that TestMain builds.
var greetd string

func TestMain(m *testing.M) {
	if os.Getenv(wantedEnv) == "" {
		os.Exit(m.Run())
	}
	dir, err := os.MkdirTemp("", "greetd-page-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	greetd = filepath.Join(dir, "greetd")
	code := 1
	if out, err := exec.CommandContext(context.Background(), "go", "build", "-o", greetd, "greetd.example/cmd/greetd").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
	} else {
		code = m.Run()
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

func skipUnlessWanted(t *testing.T) {
	t.Helper()
	if os.Getenv(wantedEnv) == "" {
		t.Skip("it takes a browser and a minute: run make e2e")
	}
}

// A daemon is a greetd of this source, in the foreground.
type daemon struct {
	config string
	page   string // its URL
	cmd    *exec.Cmd
	ended  chan error // holds why it has ended; nil if it does not run
	log    bytes.Buffer
}

// newDaemon starts a daemon that ends with the test.
func newDaemon(t *testing.T) *daemon {
	t.Helper()
	address := freeAddress(t)
	d := &daemon{config: filepath.Join(t.TempDir(), "greetd.yaml"), page: "http://" + address + "/"}
	d.configure(t, `"hello\n"`, address)
	t.Cleanup(func() { d.stop(t) })
	d.start(t)
	return d
}

func (d *daemon) configure(t *testing.T, greeting, address string) {
	t.Helper()
	must(t, os.WriteFile(d.config, fmt.Appendf(nil,
		"listeners: [{name: greet, address: '127.0.0.1:0'}]\ngreeting: %s\nadmin: {address: '%s'}\n", greeting, address), 0o600))
}

// start returns when greetd greets.
func (d *daemon) start(t *testing.T) {
	t.Helper()
	d.log.Reset()
	d.cmd = exec.Command(greetd, "--config", d.config)
	d.cmd.Env = []string{} // what begins with GREETD_ is configuration
	d.cmd.Stderr = &d.log
	must(t, d.cmd.Start())
	d.ended = make(chan error, 1)
	go func() { d.ended <- d.cmd.Wait() }() // stop waits

	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	deadline := time.After(browser.Patience)
	for {
		answer, err := http.Get(d.page + "readyz")
		if err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case <-again.C:
		case err := <-d.ended:
			d.ended <- err
			t.Fatalf("greetd ends: %v\n%s", err, d.log.String())
		case <-deadline:
			t.Fatalf("greetd is not ready: %v", err)
		}
	}
}

// stop ends it, if it runs.
func (d *daemon) stop(t *testing.T) {
	t.Helper()
	if d.ended == nil {
		return
	}
	_ = d.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	if err := <-d.ended; err != nil {
		t.Errorf("greetd: %v\n%s", err, d.log.String())
	}
	d.ended = nil
}

// visit lets clients be greeted.
func (d *daemon) visit(t *testing.T, clients int) {
	t.Helper()
	status, err := admin.Dial(strings.Trim(strings.TrimPrefix(d.page, "http:"), "/")).Status(t.Context())
	must(t, err)
	for range clients {
		c, err := net.Dial("tcp", status.Listeners[0].Address)
		must(t, err)
		if got, err := io.ReadAll(c); err != nil || string(got) != "hello\n" {
			t.Errorf("greeted %q, %v", got, err)
		}
		c.Close()
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer ln.Close()
	return ln.Addr().String()
}

// What a page shows, as JavaScript.
const (
	greeted = `document.querySelector("#totals b").textContent`
	drawn   = `document.querySelectorAll("svg path.first[d^=M]").length >= 2` // of durations there may be none
	silent  = `!document.getElementById("silence").hidden`
)

func TestPageShowsWhatHappens(t *testing.T) {
	skipUnlessWanted(t)
	b, d := browser.Start(t), newDaemon(t)
	d.visit(t, 1234)
	for name, l := range map[string]browser.Look{
		"phone-light":   {Width: 390, Height: 844},
		"phone-dark":    {Width: 390, Height: 844, Dark: true},
		"desktop-light": {Width: 1280, Height: 900},
		"desktop-dark":  {Width: 1280, Height: 900, Dark: true},
	} {
		t.Run(name, func(t *testing.T) {
			p := b.Open(t, d.page, l)
			p.Wait(t, drawn)
			p.Wait(t, greeted+` === "1,234"`)
			for _, want := range []string{"running", "greet", "127.0.0.1:", "own bind", "listening", "1,234", d.config, "Visits a second", "10 min ago"} {
				if p.Value(t, fmt.Sprintf("document.body.textContent.includes(%q)", want)) != true {
					t.Errorf("%q can't be read", want)
				}
			}
			if wide := p.Value(t, "document.documentElement.scrollWidth"); wide != float64(l.Width) {
				t.Errorf("the page is %v px wide on a screen of %d", wide, l.Width)
			}
			if dark := p.Value(t, `getComputedStyle(document.body).backgroundColor.match(/\d+/)[0] < 128`); dark != l.Dark {
				t.Errorf("dark = %v, want %v", dark, l.Dark)
			}
			p.Quiet(t)
			p.Shoot(t, "page")
		})
	}
}

func TestPageIsLive(t *testing.T) {
	skipUnlessWanted(t)
	b, d := browser.Start(t), newDaemon(t)
	p := b.Open(t, d.page, browser.Look{Width: 1280, Height: 900})
	p.Wait(t, drawn)
	// What somebody has selected stays so while numbers change around it.
	p.Value(t, `getSelection().selectAllChildren(document.querySelector("#listeners .address"))`)
	d.visit(t, 25)
	p.Wait(t, greeted+` === "25"`)
	if got := p.Value(t, "getSelection().toString().startsWith('127.0.0.1:')"); got != true {
		t.Error("the selection was lost")
	}
	p.Wait(t, `document.querySelectorAll("svg")[0].getAttribute("aria-label").match(/greeted at least 0, at most [1-9]/)`)
	p.Wait(t, `document.querySelectorAll("svg")[1].getAttribute("aria-label").match(/median at least [1-9][0-9.]* (µs|ms|s)/)`)

	// Who points at a plot is told the numbers there.
	where := p.Value(t, `(() => { const r = document.querySelector("svg").getBoundingClientRect(); return [r.right - 20, r.top + 50]; })()`).([]any)
	p.Do(t, "Input.dispatchMouseEvent", map[string]any{"type": "mouseMoved", "x": where[0], "y": where[1]})
	p.Wait(t, `/\d+ s ago/.test(document.querySelector("svg").textContent)`)

	// A bad reload is there at once, with its reason.
	d.configure(t, `"{{.Nobody}}\n"`, freeAddress(t))
	must(t, d.cmd.Process.Signal(syscall.SIGHUP))
	p.Wait(t, `/refused[^]*Nobody/.test(document.getElementById("facts").textContent)`)
	p.Wait(t, `/error[^]*Nobody/.test(document.getElementById("problems").textContent)`)
	p.Quiet(t)
	p.Shoot(t, "bad-reload")
}

func TestPageOutlivesTheDaemon(t *testing.T) {
	skipUnlessWanted(t)
	b, d := browser.Start(t), newDaemon(t)
	d.visit(t, 25)
	p := b.Open(t, d.page, browser.Look{Width: 1280, Height: 900})
	p.Wait(t, drawn)
	p.Wait(t, greeted+` === "25"`)
	p.Quiet(t)
	d.stop(t)
	p.Wait(t, silent)
	p.Shoot(t, "silence")
	d.start(t)
	p.Wait(t, "!("+silent+")")
	p.Wait(t, greeted+` === "0"`)
	// What the other one did is no longer drawn.
	p.Wait(t, `document.querySelector("svg").getAttribute("aria-label").includes("greeted at least 0, at most 0;")`)
}

func TestPageWithoutScript(t *testing.T) {
	skipUnlessWanted(t)
	b, d := browser.Start(t), newDaemon(t)
	d.visit(t, 25)
	p := b.Open(t, d.page, browser.Look{Width: 1280, Height: 900, Scriptless: true})
	if got := p.Value(t, greeted); got != "25" {
		t.Errorf("greeted = %v, want 25", got)
	}
	d.visit(t, 25)
	p.Wait(t, greeted+` === "50"`) // it loads itself again
	p.Quiet(t)
	p.Shoot(t, "page")
}

// TestHistoryIsThereForLatecomers shows that the past does not begin with the look.
func TestHistoryIsThereForLatecomers(t *testing.T) {
	skipUnlessWanted(t)
	d := newDaemon(t)
	d.visit(t, 25)
	ctx, cancel := context.WithTimeout(t.Context(), browser.Patience)
	defer cancel()
	for sum := uint64(0); sum < 25; {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, d.page+"history", nil)
		must(t, err)
		answer, err := http.DefaultClient.Do(r)
		must(t, err)
		var h admin.History
		must(t, json.NewDecoder(answer.Body).Decode(&h))
		answer.Body.Close()
		sum = 0
		for _, point := range h.Points {
			sum += point.Outcomes["greeted"]
		}
		if sum > 25 {
			t.Fatalf("%d visits in the history, want 25", sum)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
