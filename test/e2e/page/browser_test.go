package page_test

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

	"greetd.example/internal/debtest"
)

// patience is for a browser on a machine that is busy.
const patience = 2 * time.Minute

// A browser is a headless Chromium that is steered through a pair of pipes by the
// DevTools protocol: messages in JSON, each with a zero byte behind it.
type browser struct {
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

// startBrowser starts a browser with an empty profile, for the test.
func startBrowser(t *testing.T) *browser {
	t.Helper()
	chromium := debtest.Program(t, "chromium", "chromium")
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
	cmd.WaitDelay = patience
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	commands.Close()
	answers.Close()

	b := &browser{to: to, replies: make(map[int]chan reply), events: make(map[string]chan event)}
	var reader sync.WaitGroup
	reader.Go(func() { b.read(from) })
	t.Cleanup(func() {
		fmt.Fprint(to, `{"id":0,"method":"Browser.close"}`+"\x00")
		reader.Wait() // until it has ended
		cmd.Wait()
		to.Close()
		from.Close()
		if t.Failed() {
			t.Logf("chromium:\n%s", log.String())
		}
	})
	return b
}

// read hands out what the browser says, until it ends.
func (b *browser) read(from *os.File) {
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
func (b *browser) call(session, method string, params, value any) error {
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
	case <-time.After(patience):
		return errors.New("no answer")
	}
}

// A tab is one page, with its own look.
type tab struct {
	browser *browser
	session string
	events  chan event
}

// A look is how somebody sees a page.
type look struct {
	width, height int
	dark          bool
	scriptless    bool
}

// open shows url to somebody, and waits until it is loaded.
func (b *browser) open(t *testing.T, url string, l look) *tab {
	t.Helper()
	var target struct{ TargetID string }
	must(t, b.call("", "Target.createTarget", map[string]any{"url": "about:blank"}, &target))
	var attached struct{ SessionID string }
	must(t, b.call("", "Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached))
	p := &tab{b, attached.SessionID, make(chan event, 10000)}
	b.mu.Lock()
	b.events[p.session] = p.events
	b.mu.Unlock()

	scheme := "light"
	if l.dark {
		scheme = "dark"
	}
	p.do(t, "Page.enable", nil)
	p.do(t, "Runtime.enable", nil)
	p.do(t, "Log.enable", nil)
	p.do(t, "Network.enable", nil)
	p.do(t, "Emulation.setDeviceMetricsOverride", map[string]any{"width": l.width, "height": l.height, "deviceScaleFactor": 1, "mobile": l.width < 600})
	p.do(t, "Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}}})
	p.do(t, "Emulation.setScriptExecutionDisabled", map[string]any{"value": l.scriptless})
	p.do(t, "Page.navigate", map[string]any{"url": url})
	for deadline := time.After(patience); ; {
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

func (p *tab) do(t *testing.T, method string, params any) {
	t.Helper()
	must(t, p.browser.call(p.session, method, params, nil))
}

// value evaluates an expression.
func (p *tab) value(t *testing.T, expression string) any {
	t.Helper()
	value, err := p.evaluate(expression)
	must(t, err)
	return value
}

func (p *tab) evaluate(expression string) (any, error) {
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

// wait waits until an expression is true, even if the page is loaded again meanwhile.
func (p *tab) wait(t *testing.T, expression string) {
	t.Helper()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	deadline := time.After(patience)
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

// quiet fails the test if the page has complained: of an error in its script, of
// something that its policy forbids, of a request that failed.
func (p *tab) quiet(t *testing.T) {
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

func (p *tab) check(t *testing.T, e event) {
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

// shoot saves the whole page as a picture: see go help testflag for -artifacts.
func (p *tab) shoot(t *testing.T, name string) {
	t.Helper()
	var shot struct{ Data string }
	must(t, p.browser.call(p.session, "Page.captureScreenshot", map[string]any{"captureBeyondViewport": true}, &shot))
	picture, err := base64.StdEncoding.DecodeString(shot.Data)
	must(t, err)
	must(t, os.WriteFile(t.ArtifactDir()+"/"+name+".png", picture, 0o600))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
