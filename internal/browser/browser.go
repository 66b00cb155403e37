// Package browser steers a headless Chromium, for tests that look at pages as people do.
package browser

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"greetd.example/internal/test/debian"
)

// Patience is for a browser on a machine that is busy.
const Patience = 2 * time.Minute

// A Browser is a headless Chromium that is steered through a pair of pipes by the
// DevTools protocol: messages in JSON, each with a zero byte behind it.
type Browser struct {
	to *os.File

	mu      sync.Mutex
	last    int
	replies map[int]chan reply
	events  map[string]chan event // by session
}

type reply struct {
	Result json.RawMessage
	Error  *struct{ Message string }
}

// An event is what a tab tells without being asked.
type event struct {
	Method string
	Params json.RawMessage
}

// Start starts a browser with an empty profile, which ends with the test.
func Start(t *testing.T) *Browser {
	t.Helper()
	chromium := debian.Program(t, "chromium", "chromium")
	commands, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	from, answers, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cmd := exec.CommandContext(t.Context(), chromium, "--headless=new", "--remote-debugging-pipe",
		"--no-sandbox", // which root can't have
		"--user-data-dir="+t.TempDir(), "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync")
	cmd.ExtraFiles = []*os.File{commands, answers} // 3 and 4
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.WaitDelay = Patience
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	commands.Close()
	answers.Close()

	b := &Browser{to: to, replies: make(map[int]chan reply), events: make(map[string]chan event)}
	var reader sync.WaitGroup
	reader.Go(func() { b.read(from) })
	t.Cleanup(func() {
		fmt.Fprint(to, `{"id":0,"method":"Browser.close"}`+"\x00")
		reader.Wait() // until it has ended
		_ = cmd.Wait()
		to.Close()
		from.Close()
		if t.Failed() {
			t.Logf("chromium:\n%s", log.String())
		}
	})
	return b
}

// read hands out what the browser says, until it ends.
func (b *Browser) read(from *os.File) {
	in := bufio.NewReader(from)
	for {
		text, err := in.ReadBytes(0)
		if err != nil {
			break
		}
		var message struct {
			ID        int
			SessionID string
			reply
			event
		}
		if json.Unmarshal(text[:len(text)-1], &message) != nil {
			continue
		}
		b.mu.Lock()
		waiting, events := b.replies[message.ID], b.events[message.SessionID]
		delete(b.replies, message.ID)
		b.mu.Unlock()
		switch {
		case waiting != nil:
			waiting <- message.reply
		case events != nil && message.Method != "":
			events <- message.event
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, waiting := range b.replies {
		waiting <- reply{Error: &struct{ Message string }{"the browser has ended"}}
	}
	clear(b.replies)
}

// call asks the browser, or one of its tabs, and puts the result into value.
func (b *Browser) call(session, method string, params, value any) error {
	answer := make(chan reply, 1)
	b.mu.Lock()
	b.last++
	id := b.last
	b.replies[id] = answer
	b.mu.Unlock()
	message := map[string]any{"id": id, "method": method}
	if params != nil {
		message["params"] = params
	}
	if session != "" {
		message["sessionId"] = session
	}
	text, err := json.Marshal(message)
	if err != nil {
		return err
	}
	if _, err := b.to.Write(append(text, 0)); err != nil {
		return err
	}
	select {
	case r := <-answer:
		if r.Error != nil {
			return errors.New(r.Error.Message)
		}
		if value == nil {
			return nil
		}
		return json.Unmarshal(r.Result, value)
	case <-time.After(Patience):
		return errors.New("no answer")
	}
}

// A Tab is one page, with its own look.
type Tab struct {
	browser *Browser
	session string
	events  chan event
}

// A Look is how somebody sees a page.
type Look struct {
	Width, Height int // in pixels of CSS
	Scale         int // pixels of the screen for each of them; 0 is 1
	Dark          bool
	Scriptless    bool
}

// Open shows url to somebody, and waits until it is loaded.
func (b *Browser) Open(t *testing.T, url string, l Look) *Tab {
	t.Helper()
	var target struct{ TargetID string }
	must(t, b.call("", "Target.createTarget", map[string]any{"url": "about:blank"}, &target))
	var attached struct{ SessionID string }
	must(t, b.call("", "Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached))
	p := &Tab{b, attached.SessionID, make(chan event, 10000)}
	b.mu.Lock()
	b.events[p.session] = p.events
	b.mu.Unlock()

	scheme := "light"
	if l.Dark {
		scheme = "dark"
	}
	p.Do(t, "Page.enable", nil)
	p.Do(t, "Runtime.enable", nil)
	p.Do(t, "Log.enable", nil)
	p.Do(t, "Network.enable", nil)
	p.Do(t, "Emulation.setDeviceMetricsOverride", map[string]any{"width": l.Width, "height": l.Height, "deviceScaleFactor": max(l.Scale, 1), "mobile": l.Width < 600})
	p.Do(t, "Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}}})
	p.Do(t, "Emulation.setScriptExecutionDisabled", map[string]any{"value": l.Scriptless})
	p.Do(t, "Page.navigate", map[string]any{"url": url})
	for deadline := time.After(Patience); ; {
		select {
		case e := <-p.events:
			if e.Method == "Page.loadEventFired" {
				return p
			}
			p.check(t, e)
		case <-deadline:
			t.Fatal("the page was not loaded")
		}
	}
}

// Do sends a command of the DevTools protocol to the tab.
func (p *Tab) Do(t *testing.T, method string, params any) {
	t.Helper()
	must(t, p.browser.call(p.session, method, params, nil))
}

// Value evaluates an expression.
func (p *Tab) Value(t *testing.T, expression string) any {
	t.Helper()
	value, err := p.evaluate(expression)
	must(t, err)
	return value
}

func (p *Tab) evaluate(expression string) (any, error) {
	var result struct {
		Result           struct{ Value any }
		ExceptionDetails *struct{ Exception struct{ Description string } }
	}
	err := p.browser.call(p.session, "Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true}, &result)
	if err == nil && result.ExceptionDetails != nil {
		err = fmt.Errorf("%s: %s", expression, result.ExceptionDetails.Exception.Description)
	}
	return result.Result.Value, err
}

// Wait waits until an expression is true, even if the page is loaded again meanwhile.
func (p *Tab) Wait(t *testing.T, expression string) {
	t.Helper()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	deadline := time.After(Patience)
	for {
		value, err := p.evaluate("!!(" + expression + ")")
		if err == nil && value == true {
			return
		}
		select {
		case <-again.C:
		case <-deadline:
			t.Fatalf("it never came true that %s (%v)", expression, err)
		}
	}
}

// Quiet fails the test if the page has complained: of an error in its script, of
// something that its policy forbids, of a request that failed.
func (p *Tab) Quiet(t *testing.T) {
	t.Helper()
	for {
		select {
		case e := <-p.events:
			p.check(t, e)
		default:
			return
		}
	}
}

func (p *Tab) check(t *testing.T, e event) {
	t.Helper()
	switch e.Method {
	case "Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded", "Network.loadingFailed":
		t.Errorf("the browser says %s: %s", e.Method, e.Params)
	case "Network.requestWillBeSent":
		var sent struct{ Request struct{ URL string } }
		must(t, json.Unmarshal(e.Params, &sent))
		if !strings.HasPrefix(sent.Request.URL, "http://127.0.0.1:") && !strings.HasPrefix(sent.Request.URL, "data:") {
			t.Errorf("the page asks %s", sent.Request.URL)
		}
	}
}

// Shoot saves the whole page as a picture, name.png: see go help testflag for -artifacts.
func (p *Tab) Shoot(t *testing.T, name string) {
	t.Helper()
	must(t, os.WriteFile(t.ArtifactDir()+"/"+name+".png", p.Picture(t), 0o600))
}

// Picture returns the whole page as a PNG.
func (p *Tab) Picture(t *testing.T) []byte {
	t.Helper()
	var shot struct{ Data string }
	must(t, p.browser.call(p.session, "Page.captureScreenshot", map[string]any{"captureBeyondViewport": true}, &shot))
	picture, err := base64.StdEncoding.DecodeString(shot.Data)
	must(t, err)
	return picture
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
