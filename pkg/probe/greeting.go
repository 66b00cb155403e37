package probe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
)

// firstRead is the size of the first buffer for a greeting. It is enough for most greetings.
const firstRead = 512

// greet reads the greeting, and reports whether it is complete. rest has the bytes that were read after the
// greeting.
func (r *run) greet(w *wire) (rest []byte, complete bool) {
	began := time.Now()
	g := &Greeting{}
	r.Greeting = g
	if r.p.Send != "" && r.p.SendFirst {
		_, _ = io.WriteString(w, r.p.Send) // after an error, reading still returns the text that the server has sent, and then fails, too
	}
	said, err := r.listen(w, began)
	all, end := g.Bytes, said.end
	if g.End == EndLine {
		g.Bytes = all[:end]
	}
	if exact := g.End == EndLine && len(all) == end; !said.answer && !exact {
		said = r.read(g.Bytes, true)
	}
	switch n := len(g.Bytes); {
	case errors.Is(w.ctx.Err(), context.Canceled):
		g.End = ""
		r.fail(PhaseGreeting, Canceled, context.Canceled)
	case n == 0 && w.refusal(err) != nil:
		r.Greeting = nil
		r.fail(PhaseTLS, TLSFailed, w.refusal(err))
	case n > 0 && said.kind == refusal && g.End != EndReset && g.End != EndTimeout:
		r.Timing.Greeting = since(began)
		return nil, r.understood(said)
	case n > 0 && said.kind == refusal:
		r.classifyGreeting(said)
	case g.End == EndEOF && n == 0:
		r.fail(PhaseGreeting, Closed, errors.New("the server closed the connection without sending anything"))
	case g.End == EndReset:
		r.fail(PhaseGreeting, Reset, brokenOff(n, err))
	case g.End == EndTimeout && n == 0:
		r.fail(PhaseGreeting, NoGreeting, fmt.Errorf("connected, but the server said nothing %s", w.spent()))
	case g.End == EndTimeout && (end == 0 || !r.p.hasPatterns()):
		r.fail(PhaseGreeting, Partial, fmt.Errorf("the greeting was not complete %s (%s so far)", w.spent(), plural(n, "byte")))
	default:
		r.Timing.Greeting = since(began)
		return all[n:], r.understood(said)
	}
	return nil, false
}

// understood sets the status for the meaning of the greeting, if it is more than a greeting, such as a refusal. It
// always returns true: the connection can still be used. If the greeting contains a pattern of Reject, this is the
// status, even if the greeting is a refusal.
func (r *run) understood(said reading) bool {
	if !r.classifyGreeting(said) && r.p.match(r.Greeting.Bytes, true).rejected {
		r.checkPatterns()
	}
	return true
}

// listen reads until the greeting and the answer to Send are complete, or can't become complete. The error is that
// of the last read; it is nil if the text of the server ended the reading.
func (r *run) listen(w *wire, began time.Time) (reading, error) {
	g := r.Greeting
	limit := cmp.Or(r.p.MaxBytes, DefaultMaxBytes)
	buf := make([]byte, 0, min(limit, firstRead))
	hasPatterns := r.p.hasPatterns() && r.p.StartTLS == "" && len(r.p.Steps) == 0 // with patterns, a whole line does not end the greeting
	pending := r.p.Send != "" && !r.p.SendFirst
	var said reading
	sent := 0 // the length of buf when Send was sent
	for {
		n, err := w.Read(buf[len(buf):cap(buf)])
		if n > 0 && len(buf) == 0 {
			r.Timing.FirstByte = since(began)
		}
		buf = buf[:len(buf)+n]
		g.Bytes = buf
		if said.answer {
			said.end, said.promised = replyEnd(buf, sent)
		} else {
			said = r.read(buf, false)
		}
		bad := !said.answer && (said.kind == refusal || said.kind == foreign)
		v := match{}
		if hasPatterns {
			v = r.p.match(buf, false)
		}
		if pending && !bad && (said.end > 0 || err != nil && w.endOf(err) == EndIdle) {
			pending, err = false, nil
			said = r.read(buf, true)
			said.answer, said.end = true, 0
			sent = len(buf)
			_, _ = io.WriteString(w, r.p.Send) // as above
		}
		switch {
		case pending && !bad && err == nil && len(buf) < limit:
		case v.decided && (v.rejected || !bad):
			g.End = EndMatch
			return said, nil
		case said.end > 0 && (!hasPatterns || bad):
			g.End = EndLine
			return said, nil
		case len(buf) == limit:
			g.End, g.Truncated = EndMax, true
			return said, nil
		case err != nil:
			g.End = w.endOf(err)
			return said, err
		}
		if len(buf) == cap(buf) {
			buf = slices.Grow(buf, min(3*len(buf), limit-len(buf)))
			buf = buf[:len(buf):min(cap(buf), limit)]
		}
		if idle := cmp.Or(r.p.Idle, DefaultIdle); idle > 0 && len(buf) > 0 && !said.promised {
			w.wait(idle)
		} else {
			w.wait(time.Until(w.until))
		}
	}
}

func (w *wire) endOf(err error) End {
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF): // ErrUnexpectedEOF: in the middle of a TLS record
		return EndEOF
	case errors.Is(err, os.ErrDeadlineExceeded) && time.Now().Before(w.until):
		return EndIdle
	case errors.Is(err, os.ErrDeadlineExceeded):
		return EndTimeout
	default:
		return EndReset
	}
}

func (p *Probe) hasPatterns() bool { return len(p.Expect)+len(p.Reject) > 0 }

// checkPatterns checks the complete greeting against the patterns, and reports whether it is as expected. If not,
// it sets the status.
func (r *run) checkPatterns() bool {
	if !r.p.hasPatterns() {
		return true
	}
	v := r.p.match(r.Greeting.Bytes, true)
	r.Expect = &v.Expect
	switch {
	case v.Matched:
		return true
	case v.rejected:
		r.fail(PhaseMatch, Rejected, fmt.Errorf("the greeting contains %q, and must not", v.Pattern))
	default:
		r.fail(PhaseMatch, Mismatch, fmt.Errorf("the greeting does not contain %q", v.Pattern))
	}
	return false
}

// A match is the result of the patterns for a text.
type match struct {
	Expect
	rejected bool
	decided  bool // more text can't change it
}

// match looks for the patterns in text. whole means that text is complete.
func (p *Probe) match(text []byte, whole bool) match {
	for _, pattern := range p.Reject {
		if pattern.in(text, whole) {
			return match{Expect: Expect{Pattern: pattern.String()}, rejected: true, decided: true}
		}
	}
	var found, missing []string
	for _, pattern := range p.Expect {
		if pattern.in(text, whole) {
			found = append(found, pattern.String())
		} else {
			missing = append(missing, pattern.String())
		}
	}
	switch {
	case len(found) > 0 && !p.ExpectAll:
		return match{Expect: Expect{Matched: true, Pattern: found[0]}, decided: true}
	case len(missing) == 0:
		return match{Expect: Expect{Matched: true, Pattern: strings.Join(found, " | ")}, decided: len(found) > 0}
	}
	return match{Expect: Expect{Pattern: strings.Join(missing, " | ")}}
}

func brokenOff(n int, err error) error {
	said := "before it said anything"
	if n > 0 {
		said = "after " + plural(n, "byte")
	}
	return fmt.Errorf("the connection broke off %s: %w", said, reason(err))
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
