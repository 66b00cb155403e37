// Package browser steers a headless Chromium, for tests that look at pages as people do.
package browser

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/chromedp/cdproto/css"
	"github.com/chromedp/cdproto/dom"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

const (
	// Timeout is how long a page may take on a busy machine to start, to load, or to show
	// what is waited for.
	Timeout = 2 * time.Minute

	commandTimeout = 20 * time.Second // of one command: a page that is being left answers none
	pollInterval   = 50 * time.Millisecond
)

// A Browser is a running Chromium with an empty profile.
type Browser struct {
	ctx  context.Context
	stop context.CancelFunc
}

// Start starts the Chromium at path. It runs until Close, or until ctx ends.
func Start(ctx context.Context, path string) (*Browser, error) {
	allocator, stop := chromedp.NewExecAllocator(ctx, append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.WSURLReadTimeout(Timeout))...)
	b := &Browser{stop: stop}
	b.ctx, _ = chromedp.NewContext(allocator) // which ends with allocator
	if err := chromedp.Run(b.ctx); err != nil {
		stop()
		return nil, fmt.Errorf("start %s: %w", path, err)
	}
	return b, nil
}

// Close ends the browser and all its tabs, and waits for it.
func (b *Browser) Close() {
	ctx, cancel := context.WithTimeout(b.ctx, commandTimeout)
	defer cancel()
	_ = chromedp.Cancel(ctx) // asks it to close; stop kills what is left
	b.stop()
}

// A Look is how somebody sees a page.
type Look struct {
	Width, Height int // in pixels of CSS
	Scale         int // pixels of the screen for each of them; 0 is 1
	Dark          bool
	Scriptless    bool
}

// A Tab shows one page, until Close.
type Tab struct {
	ctx   context.Context
	close context.CancelFunc

	mu       sync.Mutex
	problems []string
}

// Open shows the page at url, and returns when it is loaded.
func (b *Browser) Open(url string, l Look) (*Tab, error) {
	scheme := "light"
	if l.Dark {
		scheme = "dark"
	}
	t := new(Tab)
	t.ctx, t.close = chromedp.NewContext(b.ctx)
	loaded := make(chan struct{}, 1)
	chromedp.ListenTarget(t.ctx, func(event any) {
		if _, ok := event.(*page.EventLoadEventFired); ok {
			select {
			case loaded <- struct{}{}:
			default:
			}
		}
		t.hear(event)
	})
	err := chromedp.Run(t.ctx) // a deadline here would be the tab's end
	if err == nil {
		err = t.run(
			// chromedp follows each change of the document, and stops for good when it asks
			// for one that is just being left.
			css.Disable(), dom.Disable(),
			page.BringToFront(), // a page in the background is not drawn
			emulation.SetDeviceMetricsOverride(int64(l.Width), int64(l.Height), float64(max(l.Scale, 1)), l.Width < 600),
			emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}),
			emulation.SetScriptExecutionDisabled(l.Scriptless),
			chromedp.ActionFunc(func(ctx context.Context) error {
				_, _, failed, _, err := page.Navigate(url).Do(ctx)
				if err == nil && failed != "" {
					err = fmt.Errorf("open %s: %s", url, failed)
				}
				return err
			}))
	}
	if err != nil {
		t.close()
		return nil, err
	}
	select {
	case <-loaded:
		return t, nil
	case <-time.After(Timeout):
		t.close()
		return nil, fmt.Errorf("open %s: not loaded within %s", url, Timeout)
	}
}

// Close closes the tab.
func (t *Tab) Close() { t.close() }

func (t *Tab) run(actions ...chromedp.Action) error {
	ctx, cancel := context.WithTimeout(t.ctx, commandTimeout)
	defer cancel()
	return chromedp.Run(ctx, actions...)
}

// Value returns what a JavaScript expression evaluates to.
func (t *Tab) Value(expression string) (value any, err error) {
	if err := t.run(chromedp.Evaluate(expression, &value)); err != nil {
		return nil, fmt.Errorf("evaluate %s: %w", expression, err)
	}
	return value, nil
}

// Wait waits until an expression is true, also across loads of the page.
func (t *Tab) Wait(expression string) error {
	retry := time.NewTicker(pollInterval)
	defer retry.Stop()
	for deadline := time.Now().Add(Timeout); ; {
		value, err := t.Value("!!(" + expression + ")")
		switch {
		case value == true:
			return nil
		case time.Now().After(deadline) || t.ctx.Err() != nil:
			return errors.Join(fmt.Errorf("not true within %s: %s", Timeout, expression), err)
		}
		<-retry.C
	}
}

// Point moves the mouse to a place on the page, in pixels of CSS.
func (t *Tab) Point(x, y float64) error {
	return t.run(input.DispatchMouseEvent(input.MouseMoved, x, y))
}

// Picture returns the whole page as a PNG.
func (t *Tab) Picture() (png []byte, err error) {
	err = t.run(chromedp.ActionFunc(func(ctx context.Context) error {
		png, err = page.CaptureScreenshot().WithCaptureBeyondViewport(true).Do(ctx)
		return err
	}))
	return png, err
}

// Problems returns what went wrong on the page since it was opened, and since the last
// call: errors of its script, what its policy forbids, requests that failed, and requests
// to anything but this machine.
func (t *Tab) Problems() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	problems := slices.Clone(t.problems)
	t.problems = nil
	return problems
}

// hear adds what event says to the problems. chromedp waits for it.
func (t *Tab) hear(event any) {
	problem := ""
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		problem = e.ExceptionDetails.Error()
	case *runtime.EventConsoleAPICalled:
		var words []string
		for _, arg := range e.Args {
			words = append(words, string(arg.Value))
		}
		problem = "console." + e.Type.String() + " " + strings.Join(words, " ")
	case *log.EventEntryAdded:
		problem = fmt.Sprintf("%s: %s %s", e.Entry.Level, e.Entry.Text, e.Entry.URL)
	case *network.EventLoadingFailed:
		problem = fmt.Sprintf("request failed: %s %s", e.ErrorText, e.BlockedReason)
	case *network.EventRequestWillBeSent:
		if url := e.Request.URL; !strings.HasPrefix(url, "http://127.0.0.1:") && !strings.HasPrefix(url, "data:") {
			problem = "request to " + url
		}
	}
	if problem != "" {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.problems = append(t.problems, problem)
	}
}
