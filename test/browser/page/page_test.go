// Package page_test looks at the status page as people do: with a browser, of a greetd
// that runs.
package page_test

import (
	"bytes"
	"context"
	_ "embed"
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
	"greetd.example/internal/test/debian"
	"greetd.example/test/browser"
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
	build := exec.CommandContext(context.Background(), "go", "build", "-o", greetd, "./cmd/greetd")
	build.Dir = "../../.." // the module that it belongs to
	if out, err := build.CombinedOutput(); err != nil {
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
	config   string
	page     string // its URL
	listener string // its address, which every start changes; "": not known yet
	cmd      *exec.Cmd
	ended    chan error // holds why it has ended; nil if it does not run
	log      bytes.Buffer
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
	d.listener = ""
	d.cmd = exec.Command(greetd, "--config", d.config)
	d.cmd.Env = []string{} // what begins with GREETD_ is configuration
	d.cmd.Stderr = &d.log
	must(t, d.cmd.Start())
	d.ended = make(chan error, 1)
	go func() { d.ended <- d.cmd.Wait() }() // stop waits

	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	deadline := time.After(browser.Timeout)
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

// address is that of the page.
func (d *daemon) address() string { return strings.Trim(strings.TrimPrefix(d.page, "http:"), "/") }

// visit lets clients be greeted.
func (d *daemon) visit(t *testing.T, clients int) {
	t.Helper()
	for range clients {
		if got := d.call(t); got != "hello\n" {
			t.Errorf("greeted %q", got)
		}
	}
}

// call returns what greetd says to a client.
func (d *daemon) call(t *testing.T) string {
	t.Helper()
	if d.listener == "" {
		status, err := admin.Dial(d.address()).Status(t.Context())
		must(t, err)
		d.listener = status.Listeners[0].Address
	}
	c, err := net.Dial("tcp", d.listener)
	must(t, err)
	defer c.Close()
	text, err := io.ReadAll(c)
	must(t, err)
	return string(text)
}

// reload waits for the result.
func (d *daemon) reload(t *testing.T) {
	t.Helper()
	last := func() (at time.Time) {
		status, err := admin.Dial(d.address()).Status(t.Context())
		must(t, err)
		if reload := status.Configuration.LastReload; reload != nil {
			at = reload.At
		}
		return at
	}
	before := last()
	must(t, d.cmd.Process.Signal(syscall.SIGHUP))
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for deadline := time.Now().Add(browser.Timeout); last().Equal(before); <-again.C {
		if time.Now().After(deadline) {
			t.Fatal("there is no result of a reload")
		}
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer ln.Close()
	return ln.Addr().String()
}

// start starts a browser that ends with the test.
func start(t *testing.T) *browser.Browser {
	t.Helper()
	b, err := browser.Start(context.WithoutCancel(t.Context()), debian.Program(t, "chromium", "chromium"))
	must(t, err)
	t.Cleanup(b.Close)
	return b
}

// A tab is a [browser.Tab] whose errors end the test.
type tab struct {
	*browser.Tab

	t *testing.T
}

// open opens a tab that is closed with the test.
func open(t *testing.T, b *browser.Browser, url string, l browser.Look) tab {
	t.Helper()
	p, err := b.Open(url, l)
	must(t, err)
	t.Cleanup(p.Close)
	return tab{p, t}
}

func (p tab) wait(expression string) {
	p.t.Helper()
	must(p.t, p.Wait(expression))
}

func (p tab) value(expression string) any {
	p.t.Helper()
	value, err := p.Value(expression)
	must(p.t, err)
	return value
}

// quiet fails the test if the page has problems.
func (p tab) quiet() {
	p.t.Helper()
	for _, problem := range p.Problems() {
		p.t.Error(problem)
	}
}

// shoot saves the whole page as a picture, name.png: see go help testflag for -artifacts.
func (p tab) shoot(name string) {
	p.t.Helper()
	picture, err := p.Picture()
	must(p.t, err)
	must(p.t, os.WriteFile(filepath.Join(p.t.ArtifactDir(), name+".png"), picture, 0o600))
}

// What a page shows, as JavaScript.
const (
	greeted = `document.querySelector("#totals b").textContent`
	drawn   = `document.querySelectorAll("svg path.first[d^=M]").length >= 2` // of durations there may be none
	silent  = `!document.getElementById("silence").hidden`
)

func TestPageShowsWhatHappens(t *testing.T) {
	skipUnlessWanted(t)
	b, d := start(t), newDaemon(t)
	d.visit(t, 1234)
	for name, l := range map[string]browser.Look{
		"phone-light":   {Width: 390, Height: 844},
		"phone-dark":    {Width: 390, Height: 844, Dark: true},
		"desktop-light": {Width: 1280, Height: 900},
		"desktop-dark":  {Width: 1280, Height: 900, Dark: true},
	} {
		t.Run(name, func(t *testing.T) {
			p := open(t, b, d.page, l)
			p.wait(drawn)
			p.wait(greeted + ` === "1,234"`)
			for _, want := range []string{"running", "greet", "127.0.0.1:", "own bind", "listening", "1,234", d.config, "Visits a second", "1 min ago", "clients are greeted: 1234 of 1234 in the last minute", "100 %"} {
				if p.value(fmt.Sprintf("document.body.textContent.includes(%q)", want)) != true {
					t.Errorf("%q can't be read", want)
				}
			}
			if wide := p.value("document.documentElement.scrollWidth"); wide != float64(l.Width) {
				t.Errorf("the page is %v px wide on a screen of %d", wide, l.Width)
			}
			if dark := p.value(`getComputedStyle(document.body).backgroundColor.match(/\d+/)[0] < 128`); dark != l.Dark {
				t.Errorf("dark = %v, want %v", dark, l.Dark)
			}
			p.quiet()
			p.shoot("page")
		})
	}
}

func TestPageIsLive(t *testing.T) {
	skipUnlessWanted(t)
	b, d := start(t), newDaemon(t)
	p := open(t, b, d.page, browser.Look{Width: 1280, Height: 900})
	p.wait(drawn)
	// What somebody has selected stays so while numbers change around it.
	p.value(`getSelection().selectAllChildren(document.querySelector("#listeners .address"))`)
	d.visit(t, 25)
	p.wait(greeted + ` === "25"`)
	if got := p.value("getSelection().toString().startsWith('127.0.0.1:')"); got != true {
		t.Error("the selection was lost")
	}
	p.wait(`document.querySelectorAll("svg")[0].getAttribute("aria-label").match(/greeted at least 0, at most [1-9]/)`)
	p.wait(`document.querySelectorAll("svg")[1].getAttribute("aria-label").match(/median at least [1-9][0-9.]* (µs|ms|s)/)`)

	// One cursor is on all plots, by keyboard, too.
	p.value(`document.querySelectorAll("svg")[1].focus()`)
	p.value(`document.activeElement.dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowLeft"}))`)
	p.wait(`[...document.querySelectorAll("svg")].every(svg => /\d+ s ago/.test(svg.textContent))`)
	p.wait(`/median/.test(document.getElementById("said").textContent)`)
	p.value(`document.activeElement.dispatchEvent(new KeyboardEvent("keydown", {key: "Escape"}))`)
	p.wait(`![...document.querySelectorAll("svg")].some(svg => /\d+ s ago/.test(svg.textContent))`)

	// Times are those of the reader's clock.
	p.wait(`[...document.querySelectorAll("time")].every(e => e.textContent === new Date(e.dateTime).toLocaleString())`)

	// Who points at a plot is told the numbers there.
	where := p.value(`(() => { const r = document.querySelector("svg").getBoundingClientRect(); return [r.right - 20, r.top + 50]; })()`).([]any)
	must(t, p.Point(where[0].(float64), where[1].(float64)))
	p.wait(`/\d+ s ago/.test(document.querySelector("svg").textContent)`)

	// A bad reload is there at once, with its reason.
	d.configure(t, `"{{.Nobody}}\n"`, freeAddress(t))
	must(t, d.cmd.Process.Signal(syscall.SIGHUP))
	p.wait(`/refused[^]*Nobody/.test(document.getElementById("facts").textContent)`)
	p.wait(`/error[^]*Nobody/.test(document.getElementById("problems").textContent)`)
	p.wait(`/^amber the last reload was refused/.test(document.querySelector("#health .headline").textContent)`)
	p.wait(`/amber since .*the last reload was refused/s.test(document.querySelector("#health ol").textContent)`)
	p.quiet()
	p.shoot("bad-reload")
}

// axe is axe-core 4.14.1, as npm has it, under the MPL-2.0: github.com/dequelabs/axe-core.
//
//go:embed testdata/axe.min.js
var axe string

// TestPageIsAccessible lets axe-core look for what a screen reader or a keyboard can't reach, in calm
// and in trouble, with light and dark colours.
func TestPageIsAccessible(t *testing.T) {
	skipUnlessWanted(t)
	b, d := start(t), newDaemon(t)
	d.visit(t, 25)
	check := func(name string, l browser.Look, ready string) {
		t.Run(name, func(t *testing.T) {
			p := open(t, b, d.page, l)
			p.wait(drawn)
			p.wait(ready)
			p.value(axe + "; undefined")
			p.value(`axe.run().then(r => window.found = r.violations.map(v => v.id + ": " + v.help + ": " + v.nodes.map(n => n.html).join(" "))), undefined`)
			p.wait(`window.found !== undefined`)
			if found := p.value(`window.found.join("\n")`); found != "" {
				t.Errorf("axe-core: %v", found)
			}
			p.shoot("page")
		})
	}
	looks := map[string]browser.Look{
		"desktop": {Width: 1280, Height: 900}, "dark": {Width: 1280, Height: 900, Dark: true}, "phone": {Width: 390, Height: 844},
	}
	for name, l := range looks {
		check("calm on "+name, l, `document.querySelector(".headline").textContent.startsWith("green")`)
	}
	d.configure(t, `"{{.Nobody}}\n"`, freeAddress(t))
	for range 8 { // more than fits: the list scrolls
		d.reload(t)
	}
	for name, l := range looks {
		check("trouble on "+name, l, `document.querySelector(".headline").textContent.startsWith("amber")`)
	}
	d.configure(t, `'{{if eq .IP "127.0.0.1"}}{{slice .IP 99}}{{end}}'`, d.address())
	d.reload(t)
	for range 100 {
		if greeting := d.call(t); greeting != "" {
			t.Errorf("a template that fails greeted %q", greeting)
		}
	}
	for name, l := range looks {
		check("outage on "+name, l, `document.querySelector(".headline").textContent.startsWith("red")`)
	}
}

func TestPageOutlivesTheDaemon(t *testing.T) {
	skipUnlessWanted(t)
	b, d := start(t), newDaemon(t)
	d.visit(t, 25)
	p := open(t, b, d.page, browser.Look{Width: 1280, Height: 900})
	p.wait(drawn)
	p.wait(greeted + ` === "25"`)
	p.quiet()
	d.stop(t)
	p.wait(silent)
	p.shoot("silence")
	d.start(t)
	p.wait("!(" + silent + ")")
	p.wait(greeted + ` === "0"`)
	// What the other one did is no longer drawn.
	p.wait(`document.querySelector("svg").getAttribute("aria-label").includes("greeted at least 0, at most 0;")`)
}

func TestPageWithoutScript(t *testing.T) {
	skipUnlessWanted(t)
	b, d := start(t), newDaemon(t)
	d.visit(t, 25)
	p := open(t, b, d.page, browser.Look{Width: 1280, Height: 900, Scriptless: true})
	if got := p.value(greeted); got != "25" {
		t.Errorf("greeted = %v, want 25", got)
	}
	d.visit(t, 25)
	p.wait(greeted + ` === "50"`) // it loads itself again
	p.quiet()
	p.shoot("page")
}

// TestHistoryIsThereForLatecomers shows that the past does not begin with the look.
func TestHistoryIsThereForLatecomers(t *testing.T) {
	skipUnlessWanted(t)
	d := newDaemon(t)
	d.visit(t, 25)
	ctx, cancel := context.WithTimeout(t.Context(), browser.Timeout)
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
