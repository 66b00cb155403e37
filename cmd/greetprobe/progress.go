package main

import (
	"fmt"
	"sync"
	"time"

	"greetd.example/internal/words"
)

// A progressLine shows on a terminal how far a command is. It is the last line, and is erased while other
// output is written. Its methods may be called at any time. A nil progressLine shows nothing.
type progressLine struct {
	streams
	total   int
	all     bool // a target can have several addresses
	over    chan struct{}
	ticking sync.WaitGroup

	mu     sync.Mutex
	done   int
	failed int
	shown  bool
}

// manyTargets is the number of targets from which there is a progress line. progressPause is the time until it is first
// shown.
const (
	manyTargets   = 10
	progressPause = 500 * time.Millisecond
)

// newProgressLine returns a progress line, which the caller must end. It returns nil if there are few targets, or if
// standard error is not a terminal that can erase a line.
func newProgressLine(std streams, total int, all bool) *progressLine {
	if total < manyTargets || !isTerminal(std.err) || dumb() {
		return nil
	}
	p := &progressLine{streams: std, total: total, all: all}
	p.show(progressPause, p.text)
	return p
}

// show shows text after each interval, until the caller ends the line. since is the time from the call of show.
func (p *progressLine) show(interval time.Duration, text func(since time.Duration) string) {
	p.over = make(chan struct{})
	started, tick := time.Now(), time.Tick(interval)
	p.ticking.Go(func() {
		for {
			select {
			case now := <-tick:
				p.mu.Lock()
				fmt.Fprintf(p.err, "\r\x1b[K%s", cut(text(now.Sub(started)), screenOf(p.err).columns-1))
				p.shown = true
				p.mu.Unlock()
			case <-p.over:
				return
			}
		}
	})
}

// text returns the numbers of probed and failed targets, and the remaining time at this rate.
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

// aside erases the line until the returned function is called.
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

// count counts a result. The caller must have called aside before.
func (p *progressLine) count(ok bool) {
	if p == nil {
		return
	}
	p.done++
	if !ok {
		p.failed++
	}
}

// end erases the line, and ends the progress line.
func (p *progressLine) end() {
	if p == nil {
		return
	}
	close(p.over)
	p.ticking.Wait()
	p.aside()()
}
