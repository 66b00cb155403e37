package probe

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
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
		Refusal  *wireRefusal  `json:"refusal"`
		Expect   *wireExpect   `json:"expect"`
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
		Addr   string        `json:"addr"`
		Start  int64         `json:"start_us"`
		End    int64         `json:"end_us"`
		Result AttemptResult `json:"result"`
		Errno  *string       `json:"errno"`
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
	wireRefusal struct {
		Code      string `json:"code"`
		Text      string `json:"words"`
		Temporary bool   `json:"temporary"`
	}
	wireExpect struct {
		Matched bool   `json:"matched"`
		Pattern string `json:"pattern"`
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
		Protocol: named(r.Protocol), Software: named(r.Software), Release: named(r.Version),
		TLS: r.TLS.wire(),
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
	if r.Refusal != nil {
		w.Refusal = (*wireRefusal)(r.Refusal)
	}
	if r.Expect != nil {
		w.Expect = &wireExpect{r.Expect.Matched, r.Expect.Pattern}
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(w); err != nil {
		return nil, err
	}
	return terminalSafe(bytes.TrimSuffix(b.Bytes(), []byte("\n"))), nil
}

// named returns nil for "".
func named[T ~string](name T) *T {
	if name == "" {
		return nil
	}
	return &name
}

func micros(d *time.Duration) *int64 {
	if d == nil {
		return nil
	}
	return new(d.Microseconds())
}

func (a Attempt) wire() wireAttempt {
	w := wireAttempt{
		Addr: a.Addr.String(), Start: a.Start.Microseconds(), End: a.End.Microseconds(), Result: a.Result,
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
	w := wireGreeting{
		Text: strings.ToValidUTF8(string(g.Bytes), "\ufffd"), Base64: g.Bytes, Bytes: len(g.Bytes),
		Lines: g.Lines(), UTF8: utf8.Valid(g.Bytes), Truncated: g.Truncated, End: g.End,
	}
	if w.Base64 == nil {
		w.Base64 = []byte{}
	}
	return &w
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
	w := wireTLS{
		Version: t.Version, Cipher: t.Cipher, ServerName: t.ServerName, Verified: t.Verified,
		Subject: t.Subject, Issuer: t.Issuer, Names: append([]string{}, t.Names...),
		ChainOf: t.ChainSubject, Old: append([]string{}, t.Old...),
	}
	if t.Problem != "" {
		w.Problem = &t.Problem
	}
	if !t.NotAfter.IsZero() {
		w.NotBefore, w.NotAfter = &t.NotBefore, &t.NotAfter
	}
	if !t.ChainNotAfter.IsZero() {
		w.ChainEnd = &t.ChainNotAfter
	}
	return &w
}

// terminalSafe writes the unsafe characters of a JSON text as \u escapes. They can be
// in its strings only, and C0 is escaped already.
func terminalSafe(text []byte) []byte {
	if bytes.IndexFunc(text, unsafeRune) < 0 {
		return text
	}
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
