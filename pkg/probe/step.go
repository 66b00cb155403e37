package probe

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
)

// A Step is one step of a conversation after the greeting. The functions [ExpectStep],
// [RejectStep], [SendStep], [TLSStep] and [ParseStep] return a Step.
type Step struct {
	verb     string
	pattern  Pattern  // of expect and reject
	text     string   // of send
	protocol StartTLS // of starttls; "": the handshake alone
}

// ExpectStep returns a step that reads until pattern is found in the text that the server has sent
// since the last line that an ExpectStep matched. It fails if pattern is not found within
// [Probe.Read].
func ExpectStep(pattern Pattern) Step { return Step{verb: "expect", pattern: pattern} }

// RejectStep returns a step that fails if pattern is found in the text that the server sends
// between the previous SendStep and the next one. If no ExpectStep reads the answer to the previous
// SendStep, RejectStep waits for it: for a whole line that is not continued, the end of the connection,
// [Probe.Idle] or [Probe.Read].
func RejectStep(pattern Pattern) Step { return Step{verb: "reject", pattern: pattern} }

// SendStep returns a step that sends exactly text.
func SendStep(text string) Step { return Step{verb: "send", text: text} }

// TLSStep returns a step that starts TLS with the command of protocol. If protocol is "", the step
// only makes the handshake, and earlier steps must have sent the command.
func TLSStep(protocol StartTLS) Step { return Step{verb: "starttls", protocol: protocol} }

// ParseStep parses "expect RE", "reject RE", "send TEXT", "starttls" or "starttls PROTOCOL". RE is
// an expression for [Regexp], and TEXT may have the escapes of [Unescape].
func ParseStep(s string) (Step, error) {
	verb, rest, _ := strings.Cut(strings.TrimLeft(s, " \t"), " ")
	switch verb {
	case "expect", "reject":
		if rest == "" {
			return Step{}, fmt.Errorf("%q: write %s RE", s, verb)
		}
		pattern, err := Regexp(rest)
		if err != nil {
			return Step{}, fmt.Errorf("%s %w", verb, err)
		}
		return Step{verb: verb, pattern: pattern}, nil
	case "send":
		text, err := Unescape(rest)
		if err != nil || text == "" {
			return Step{}, fmt.Errorf("%q: %w", s, cmp.Or(err, errors.New("write send TEXT")))
		}
		return SendStep(text), nil
	case "starttls":
		protocol := StartTLS(strings.TrimSpace(rest))
		if _, known := startTLS[protocol]; protocol != "" && !known {
			return Step{}, fmt.Errorf("%q: the protocols are %s", s, protocolNames())
		}
		return TLSStep(protocol), nil
	}
	return Step{}, fmt.Errorf("%q: there are expect RE, reject RE, send TEXT and starttls [PROTOCOL]", s)
}

// StartsTLS reports whether s is a [TLSStep].
func (s Step) StartsTLS() bool { return s.verb == "starttls" }

// String returns the form that [ParseStep] reads. Text that is not printable is escaped.
func (s Step) String() string {
	switch s.verb {
	case "send":
		return "send " + strings.NewReplacer(`\`, `\\`, "\r", `\r`, "\n", `\n`, "\t", `\t`).Replace(s.text)
	case "starttls":
		return strings.TrimRight("starttls "+string(s.protocol), " ")
	}
	return s.verb + " " + s.pattern.String()
}

// A StepResult is the result of one step.
type StepResult struct {
	Step     string        // the result of [Step.String]
	OK       bool          // whether the step succeeded
	Time     time.Duration // duration of the step
	Received []byte        // the text on which an expect step succeeded or failed, at most MaxBytes
}

// A conversation is the state of the steps of one probe.
type conversation struct {
	*run
	w     *wire
	said  []byte    // text of the server that no expect step has consumed
	since []byte    // all text of the server since the last send
	avoid []Pattern // the patterns of the reject steps that apply
	asked bool      // there was a send step, and no handshake after it
}

// conversation makes the steps, and reports whether all of them succeeded. rest is the text that the
// server sent after its greeting.
func (r *run) conversation(w *wire, rest []byte) bool {
	c := conversation{run: r, w: w, said: rest, since: bytes.Clone(rest)}
	for i, step := range r.p.Steps {
		began := time.Now()
		w.renew(cmp.Or(r.p.Read, DefaultRead))
		received, err := c.do(step, r.p.Steps[i+1:])
		if limit := cmp.Or(r.p.MaxBytes, DefaultMaxBytes); len(received) > limit {
			received = received[:limit]
		}
		r.Steps = append(r.Steps, StepResult{step.String(), err == nil, time.Since(began), received})
		if err != nil {
			if c.dismissed(err) {
				r.Err = fmt.Errorf("step %d, %s: %w", i+1, step, r.Err)
			} else if r.Status == "" {
				r.broken(w, PhaseStep, c.status(step, err), fmt.Errorf("step %d, %s: %w", i+1, step, c.reason(step, err)))
			}
			return false
		}
	}
	return true
}

// dismissed reports whether the server ended the session during a step with a refusal of the protocol, such
// as 421 or * BYE; err is the error of the step. If so, it sets the status.
func (c *conversation) dismissed(err error) bool {
	rule, known := protocols[c.rules]
	if c.Status != "" || !known || c.rules == SSH || c.rules == MySQL || !c.ended(err) {
		return false
	}
	text := bytes.TrimRight(c.said, "\r\n")
	last := text[bytes.LastIndexByte(text, '\n')+1:]
	reading := rule.read(last, true)
	if len(last) == 0 || reading.kind != refusal {
		return false
	}
	c.refuse(PhaseStep, reading.refused)
	return true
}

// ended reports whether err is the end of the connection.
func (c *conversation) ended(err error) bool {
	end := c.w.endOf(err)
	return c.w.refusal(err) == nil && (end == EndEOF || end == EndReset && isNetwork(err))
}

// errFailed is the error of a step that has set the status itself.
var errFailed = errors.New("failed")

type rejectedError struct{ pattern Pattern }

func (e rejectedError) Error() string { return fmt.Sprintf("the server said %q", e.pattern.String()) }

// do makes one step. next has the steps after it.
func (c *conversation) do(step Step, next []Step) (received []byte, err error) {
	switch step.verb {
	case "send":
		c.since, c.avoid, c.asked = nil, nil, true
		_, err := io.WriteString(c.w, step.text)
		if err != nil && len(c.said) == 0 {
			return c.read(Step{}) // the last text of the server has the reason
		}
		return nil, nil
	case "reject":
		c.avoid = append(c.avoid, step.pattern)
		if err := c.rejected(true); err != nil || !c.asked || readsAnswer(next) {
			return c.since, err
		}
		_, err := c.read(step)
		if _, rejected := errors.AsType[rejectedError](err); rejected {
			return c.since, err
		}
		return c.since, nil // an answer that does not come is not what is rejected
	case "starttls":
		return nil, c.startTLS(step)
	}
	return c.read(step)
}

func (c *conversation) startTLS(step Step) error {
	c.avoid, c.since, c.asked = nil, nil, false
	if step.protocol != "" {
		if !c.upgrade(c.w, step.protocol, c.said) {
			return errFailed
		}
	} else {
		if len(c.said) > 0 { // CVE-2011-0411, as in upgrade
			return errors.New("the server said more in plain text before TLS")
		}
		if !c.handshake(c.w, time.Now()) {
			return errFailed
		}
	}
	c.said = nil
	return nil
}

const (
	stepRead = 4096     // the size of one read
	maxStep  = 64 << 10 // the maximum size of the answer to one step
)

// read reads until the pattern of an expect step matches, and returns the text that was compared. It
// consumes whole lines. If the server is silent, the last line need not be complete.
func (c *conversation) read(step Step) ([]byte, error) {
	idle := cmp.Or(c.p.Idle, DefaultIdle)
	buf := make([]byte, stepRead)
	for whole := false; ; {
		if err := c.rejected(whole); err != nil { // first: the same text may also have what is expected
			return c.said, err
		}
		if n := c.found(step, whole); n > 0 {
			received := c.said[:n]
			c.said = c.said[n:]
			return received, nil
		}
		if step.verb == "reject" && (c.answered() || whole) {
			return c.since, nil
		}
		if len(c.said) > maxStep {
			return c.said, fmt.Errorf("it is not in the first %d bytes", maxStep)
		}
		if idle > 0 && !whole && len(c.said) > 0 {
			c.w.wait(idle)
		} else {
			c.w.wait(time.Until(c.w.until))
		}
		n, err := c.w.Read(buf)
		c.said, c.since = append(c.said, buf[:n]...), append(c.since, buf[:n]...)
		switch {
		case n > 0:
			whole = false
		case errors.Is(err, os.ErrDeadlineExceeded) && time.Now().Before(c.w.until) && !whole:
			whole = true // a prompt, perhaps
		case err != nil:
			if rejected := c.rejected(true); rejected != nil {
				return c.said, rejected
			}
			if n := c.found(step, true); n > 0 {
				return c.said[:n], nil
			}
			return c.said, err
		}
	}
}

// found returns the number of bytes of said, in whole lines, up to the match of the pattern of step; 0 if
// there is no match. If whole is true, the last line need not have a line end.
func (c *conversation) found(step Step, whole bool) int {
	complete := len(c.said)
	if !whole {
		complete = bytes.LastIndexByte(c.said, '\n') + 1
	}
	if step.verb != "expect" || complete == 0 || !step.pattern.in(c.said[:complete], true) {
		return 0 // a shortcut: no line has to be searched
	}
	for end := 0; end < len(c.said); {
		line := bytes.IndexByte(c.said[end:], '\n')
		switch {
		case line >= 0:
			end += line + 1
		case whole:
			end = len(c.said)
		default:
			return 0
		}
		if step.pattern.in(c.said[:end], true) {
			return end
		}
	}
	return 0
}

// readsAnswer reports whether one of the steps reads the answer to the last send step.
func readsAnswer(steps []Step) bool {
	i := slices.IndexFunc(steps, func(s Step) bool { return s.verb != "reject" })
	return i >= 0 && steps[i].verb == "expect"
}

// answered reports whether the text since the last send step has a whole line that is not continued, as the
// answer to [Probe.Send] has.
func (c *conversation) answered() bool {
	end, _ := replyEnd(c.since, 0)
	return end > 0
}

func (c *conversation) rejected(whole bool) error {
	for _, pattern := range c.avoid {
		if pattern.in(c.since, whole) {
			return rejectedError{pattern}
		}
	}
	return nil
}

// status returns the status of a probe that ends with step because of err.
func (c *conversation) status(step Step, err error) Status {
	_, rejected := errors.AsType[rejectedError](err)
	switch {
	case rejected:
		return Rejected
	case c.w.refusal(err) != nil, step.verb == "starttls":
		return TLSFailed
	case c.w.endOf(err) == EndReset && isNetwork(err):
		return Reset
	}
	return Mismatch
}

func isNetwork(err error) bool {
	_, ok := errors.AsType[interface {
		error
		Timeout() bool
	}](err)
	return ok
}

func (c *conversation) reason(step Step, err error) error {
	said := ""
	if len(c.said) > 0 {
		said = fmt.Sprintf("; it said %q", clip(strings.TrimRight(string(c.said[:min(len(c.said), recorded)]), "\r\n")))
	}
	if refusal := c.w.refusal(err); refusal != nil {
		return refusal
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded) && said == "" && c.Greeting != nil && step.verb == "expect" && step.pattern.in(c.Greeting.Bytes, true):
		return fmt.Errorf("it did not come %s: only the greeting has it, and steps begin after the greeting (--expect is for the greeting)", c.w.spent())
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("it did not come %s%s", c.w.spent(), said)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("the server closed the connection%s", said)
	case isNetwork(err):
		return fmt.Errorf("the connection broke off: %w%s", reason(err), said)
	}
	return err
}
