package probe

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

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
		TLS: w.TLS.result(),
	}
	if w.Refusal != nil {
		out.Refusal = (*Refusal)(w.Refusal)
	}
	if w.Protocol != nil {
		out.Protocol = *w.Protocol
	}
	if w.Software != nil {
		out.Software = *w.Software
	}
	if w.Release != nil {
		out.Version = *w.Release
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
	if w.Expect != nil {
		out.Expect = &Expect{w.Expect.Matched, w.Expect.Pattern}
	}
	for _, step := range w.Steps {
		out.Steps = append(out.Steps, StepResult{step.Step, step.OK, time.Duration(step.Time) * time.Microsecond, slices.Concat(step.Base64)})
	}
	for _, one := range w.Attempts {
		attempt, err := one.result()
		if err != nil {
			return fmt.Errorf("attempts: %w", err)
		}
		out.Attempts = append(out.Attempts, attempt)
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

func (w wireAttempt) result() (Attempt, error) {
	addr, err := netip.ParseAddrPort(w.Addr)
	if err != nil {
		return Attempt{}, err
	}
	a := Attempt{
		Addr: addr, Result: w.Result,
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
	return a, nil
}

func (w *wireTLS) result() *TLS {
	if w == nil {
		return nil
	}
	t := TLS{
		Version: w.Version, Cipher: w.Cipher, ServerName: w.ServerName, Verified: w.Verified,
		Subject: w.Subject, Issuer: w.Issuer, Names: slices.Concat(w.Names),
		ChainSubject: w.ChainOf, Old: slices.Concat(w.Old),
	}
	if w.Problem != nil {
		t.Problem = *w.Problem
	}
	if w.NotBefore != nil && w.NotAfter != nil {
		t.NotBefore, t.NotAfter = *w.NotBefore, *w.NotAfter
	}
	if w.ChainEnd != nil {
		t.ChainNotAfter = *w.ChainEnd
	}
	return &t
}
