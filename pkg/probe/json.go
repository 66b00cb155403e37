package probe

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

// schema is the name of the JSON form of a Result.
const schema = "greetprobe/1"

// The schema greetprobe/1, in its order.
type (
	wireResult struct {
		Schema   string        `json:"schema"`
		Time     string        `json:"time"`
		Target   string        `json:"target"`
		Host     string        `json:"host"`
		Port     uint16        `json:"port"`
		Status   Status        `json:"status"`
		Phase    Phase         `json:"phase"`
		Error    *string       `json:"error"`
		Local    string        `json:"local"`
		Remote   string        `json:"remote"`
		Family   int           `json:"family"`
		Attempts []wireAttempt `json:"attempts"`
		Timing   wireTiming    `json:"timing_us"`
		TCP      *wireTCP      `json:"tcp"`
		Greeting *wireGreeting `json:"greeting"`
		Protocol *Protocol     `json:"protocol"`
		Software *string       `json:"software"`
		Release  *string       `json:"software_version"`
		Refusal  *Refusal      `json:"refusal"`
		Expect   *Expect       `json:"expect"`
		TLS      *wireTLS      `json:"tls"`
		Steps    []wireStep    `json:"steps"`
	}
	wireStep struct {
		Step   string `json:"step"`
		OK     bool   `json:"ok"`
		Time   int64  `json:"us"`
		Base64 []byte `json:"base64"`
	}
	wireAttempt struct {
		Addr   netip.AddrPort `json:"addr"`
		Start  int64          `json:"start_us"`
		End    int64          `json:"end_us"`
		Result AttemptResult  `json:"result"`
		Errno  *string        `json:"errno"`
	}
	wireTiming struct {
		Resolve   *int64 `json:"resolve"`
		Connect   *int64 `json:"connect"`
		Proxy     *int64 `json:"proxy"`
		TLS       *int64 `json:"tls"`
		FirstByte *int64 `json:"first_byte"`
		Greeting  *int64 `json:"greeting"`
		Total     int64  `json:"total"`
	}
	wireTCP struct {
		RTT        int64 `json:"rtt_us"`
		SynRetrans int   `json:"syn_retrans"`
	}
	wireGreeting struct {
		Text      string `json:"text"`
		Base64    []byte `json:"base64"`
		Bytes     int    `json:"bytes"`
		Lines     int    `json:"lines"`
		UTF8      bool   `json:"utf8"`
		Truncated bool   `json:"truncated"`
		End       End    `json:"end"`
	}
	wireTLS struct {
		Version    string     `json:"version"`
		Cipher     string     `json:"cipher"`
		ServerName string     `json:"server_name"`
		Verified   bool       `json:"verified"`
		Problem    *string    `json:"problem"`
		Subject    string     `json:"subject"`
		Issuer     string     `json:"issuer"`
		Names      []string   `json:"names"`
		NotBefore  *time.Time `json:"not_before"`
		NotAfter   *time.Time `json:"not_after"`
		ChainEnd   *time.Time `json:"chain_not_after"`
		ChainOf    string     `json:"chain_subject"`
		Old        []string   `json:"old"`
	}
)

// timeFormat is RFC 3339 with microseconds, always six digits.
const timeFormat = "2006-01-02T15:04:05.000000Z07:00"

// MarshalJSON returns one object of the schema greetprobe/1, on one line. Characters that could
// control a terminal are written as \u escapes. greeting.text has U+FFFD in place of bytes that are
// not UTF-8; greeting.base64 has the exact bytes.
func (r Result) MarshalJSON() ([]byte, error) {
	w := wireResult{
		Schema: schema, Time: r.Time.UTC().Format(timeFormat),
		Target: r.Target.String(), Host: r.Target.Host, Port: r.Target.Port,
		Status: r.Status, Phase: r.Phase,
		Local: r.Local, Remote: r.Remote, Family: r.Family,
		Attempts: []wireAttempt{}, Steps: []wireStep{},
		Timing: wireTiming{
			Resolve: micros(r.Timing.Resolve), Connect: micros(r.Timing.Connect),
			Proxy: micros(r.Timing.Proxy), TLS: micros(r.Timing.TLS),
			FirstByte: micros(r.Timing.FirstByte), Greeting: micros(r.Timing.Greeting),
			Total: r.Timing.Total.Microseconds(),
		},
		Greeting: r.Greeting.wire(),
		Protocol: orNil(r.Protocol), Software: orNil(r.Software), Release: orNil(r.Version),
		Refusal: r.Refusal, Expect: r.Expect, TLS: r.TLS.wire(),
	}
	if r.Err != nil {
		w.Error = new(r.Err.Error())
	}
	for _, a := range r.Attempts {
		w.Attempts = append(w.Attempts, a.wire())
	}
	for _, step := range r.Steps {
		w.Steps = append(w.Steps, wireStep{step.Step, step.OK, step.Time.Microseconds(), append([]byte{}, step.Received...)})
	}
	if r.TCP != nil {
		w.TCP = &wireTCP{r.TCP.RTT.Microseconds(), r.TCP.SynRetrans}
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(w); err != nil {
		return nil, err
	}
	return terminalSafe(bytes.TrimSuffix(b.Bytes(), []byte("\n"))), nil
}

func orNil[T comparable](value T) *T {
	var zero T
	if value == zero {
		return nil
	}
	return &value
}

func orZero[T any](value *T) T {
	if value == nil {
		value = new(T)
	}
	return *value
}

func micros(d *time.Duration) *int64 {
	if d == nil {
		return nil
	}
	return new(d.Microseconds())
}

func (a Attempt) wire() wireAttempt {
	w := wireAttempt{
		Addr: a.Addr, Start: a.Start.Microseconds(), End: a.End.Microseconds(), Result: a.Result,
	}
	if errno, ok := errors.AsType[syscall.Errno](a.Err); ok {
		w.Errno = new(errnoName(portable(errno)))
	}
	return w
}

func (g *Greeting) wire() *wireGreeting {
	if g == nil {
		return nil
	}
	return &wireGreeting{
		Text: strings.ToValidUTF8(string(g.Bytes), "\ufffd"), Base64: append([]byte{}, g.Bytes...), Bytes: len(g.Bytes),
		Lines: g.Lines(), UTF8: utf8.Valid(g.Bytes), Truncated: g.Truncated, End: g.End,
	}
}

// Lines returns the number of lines. A last line without a newline also counts.
func (g *Greeting) Lines() int {
	n := bytes.Count(g.Bytes, []byte("\n"))
	if len(g.Bytes) > 0 && !bytes.HasSuffix(g.Bytes, []byte("\n")) {
		n++
	}
	return n
}

func (t *TLS) wire() *wireTLS {
	if t == nil {
		return nil
	}
	return &wireTLS{
		Version: t.Version, Cipher: t.Cipher, ServerName: t.ServerName, Verified: t.Verified, Problem: orNil(t.Problem),
		Subject: t.Subject, Issuer: t.Issuer, Names: append([]string{}, t.Names...),
		NotBefore: orNil(t.NotBefore), NotAfter: orNil(t.NotAfter),
		ChainEnd: orNil(t.ChainNotAfter), ChainOf: t.ChainSubject, Old: append([]string{}, t.Old...),
	}
}

// terminalSafe writes the unsafe characters of a JSON text as \u escapes. They can be
// in its strings only, and C0 is escaped already.
func terminalSafe(text []byte) []byte {
	var b []byte
	for _, r := range string(text) {
		if unsafeRune(r) {
			for _, unit := range utf16.Encode([]rune{r}) {
				b = fmt.Appendf(b, `\u%04x`, unit)
			}
			continue
		}
		b = utf8.AppendRune(b, r)
	}
	return b
}

// UnmarshalJSON reads an object that MarshalJSON wrote, and ignores unknown keys. The times then
// have a resolution of microseconds and no monotonic reading. The errors have their text and, for
// an attempt, the errno; they do not wrap other errors.
func (r *Result) UnmarshalJSON(text []byte) error {
	var w wireResult
	if err := json.Unmarshal(text, &w); err != nil {
		return err
	}
	if w.Schema != schema {
		return fmt.Errorf("the schema is %q, not %q: this is not a result of a probe", w.Schema, schema)
	}
	began, err := time.Parse(time.RFC3339, w.Time)
	if err != nil {
		return fmt.Errorf("time: %w", err)
	}
	target, err := w.target()
	if err != nil {
		return fmt.Errorf("target: %w", err)
	}
	out := Result{
		Time: began, Target: target, Status: w.Status, Phase: w.Phase,
		Local: w.Local, Remote: w.Remote, Family: w.Family,
		Timing: Timing{
			Resolve: duration(w.Timing.Resolve), Connect: duration(w.Timing.Connect),
			Proxy: duration(w.Timing.Proxy), TLS: duration(w.Timing.TLS),
			FirstByte: duration(w.Timing.FirstByte), Greeting: duration(w.Timing.Greeting),
			Total: time.Duration(w.Timing.Total) * time.Microsecond,
		},
		Protocol: orZero(w.Protocol), Software: orZero(w.Software), Version: orZero(w.Release),
		Refusal: w.Refusal, Expect: w.Expect, TLS: w.TLS.result(),
	}
	if w.Error != nil {
		out.Err = errors.New(*w.Error)
	}
	if w.TCP != nil {
		out.TCP = &TCP{time.Duration(w.TCP.RTT) * time.Microsecond, w.TCP.SynRetrans}
	}
	if w.Greeting != nil {
		out.Greeting = &Greeting{Bytes: w.Greeting.Base64, Truncated: w.Greeting.Truncated, End: w.Greeting.End}
	}
	for _, step := range w.Steps {
		out.Steps = append(out.Steps, StepResult{step.Step, step.OK, time.Duration(step.Time) * time.Microsecond, slices.Concat(step.Base64)})
	}
	for _, one := range w.Attempts {
		out.Attempts = append(out.Attempts, one.result())
	}
	*r = out
	return nil
}

// target returns the target with the parts that the object has, and that are told
// apart only by the target's text: a path, and an address beside a name.
func (w *wireResult) target() (Target, error) {
	if w.Host == "" && w.Port == 0 && w.Target == (Target{}).String() {
		return Target{}, nil
	}
	target, err := ParseTarget(w.Target)
	if err != nil && w.Host != "" { // a result about a target that could not be probed
		return Target{Host: w.Host, Port: w.Port}, nil
	}
	return target, err
}

func duration(us *int64) *time.Duration {
	if us == nil {
		return nil
	}
	return new(time.Duration(*us) * time.Microsecond)
}

func (w wireAttempt) result() Attempt {
	a := Attempt{
		Addr: w.Addr, Result: w.Result,
		Start: time.Duration(w.Start) * time.Microsecond, End: time.Duration(w.End) * time.Microsecond,
	}
	switch {
	case w.Errno != nil:
		a.Err = errors.New(*w.Errno)
		if errno := errnoNamed(*w.Errno); errno != 0 {
			a.Err = errno
		}
	case w.Result != AttemptConnected:
		a.Err = errors.New(string(w.Result))
	}
	return a
}

// errnoNamed returns the error number with that name; 0 if there is none.
func errnoNamed(name string) syscall.Errno {
	for n := range errnos {
		if errno := firstErrno + n; name != "" && errnoName(errno) == name {
			return errno
		}
	}
	return 0
}

func (w *wireTLS) result() *TLS {
	if w == nil {
		return nil
	}
	return &TLS{
		Version: w.Version, Cipher: w.Cipher, ServerName: w.ServerName, Verified: w.Verified, Problem: orZero(w.Problem),
		Subject: w.Subject, Issuer: w.Issuer, Names: slices.Concat(w.Names),
		NotBefore: orZero(w.NotBefore), NotAfter: orZero(w.NotAfter),
		ChainNotAfter: orZero(w.ChainEnd), ChainSubject: w.ChainOf, Old: slices.Concat(w.Old),
	}
}
