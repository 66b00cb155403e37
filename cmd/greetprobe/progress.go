package main

import (
	"fmt"
	"sync"
	"time"

	"greetd.example/internal/words"
)

// A progressLine shows on a terminal how many of many targets are done. It is the last
// line, and is taken away while something else is written. Its methods may be called at
// any time; nil shows nothing.
type progressLine struct {
	streams
	total   int
	all     bool // a target may be several addresses
	started time.Time
	over    chan struct{}
	ticking sync.WaitGroup

	mu     sync.Mutex
	done   int
	failed int
	shown  bool
}

// manyTargets is how many targets deserve a progress line, and progressPause how long one
// waits for the first.
const (
	manyTargets   = 10
	progressPause = 500 * time.Millisecond
)

// newProgressLine returns nil where nobody would look at it: there are few targets, or
// standard error is no terminal that can erase it. The caller ends it.
func newProgressLine(std streams, total int, all bool) *progressLine {
	if total < manyTargets || !isTerminal(std.err) || dumb() {
		return nil
	}
	p := &progressLine{streams: std, total: total, all: all, started: time.Now(), over: make(chan struct{})}
	p.ticking.Go(p.tick)
	return p
}

func (p *progressLine) tick() {
	ticker := time.NewTicker(progressPause)
	defer ticker.Stop()
	for {
		select {
		case now := <-ticker.C:
			p.mu.Lock()
			fmt.Fprintf(p.err, "\r\x1b[K%s", cut(p.text(now.Sub(p.started)), columns(p.err)-1))
			p.shown = true
			p.mu.Unlock()
		case <-p.over:
			return
		}
	}
}

// text says how far it is, and for how long it will go on at this pace.
func (p *progressLine) text(since time.Duration) string {
	if p.all {
		return fmt.Sprintf("%d addresses probed, %d failed", p.done, p.failed)
	}
	text := fmt.Sprintf("%d of %s probed, %d failed", p.done, words.Count(p.total, "target"), p.failed)
	if p.done == 0 {
		return text
	}
	left := time.Duration(float64(since) / float64(p.done) * float64(p.total-p.done)).Round(time.Second)
	return fmt.Sprintf("%s; about %s to go", text, left)
}

// aside takes the line away, and keeps it away until the function that it returns is
// called.
func (p *progressLine) aside() (back func()) {
	if p == nil {
		return func() {}
	}
	p.mu.Lock()
	if p.shown {
		fmt.Fprint(p.err, "\r\x1b[K")
		p.shown = false
	}
	return p.mu.Unlock
}

// count counts a result. The caller has the line aside.
func (p *progressLine) count(ok bool) {
	if p == nil {
		return
	}
	p.done++
	if !ok {
		p.failed++
	}
}

// end takes the line away for good.
func (p *progressLine) end() {
	if p == nil {
		return
	}
	close(p.over)
	p.ticking.Wait()
	p.aside()()
}
