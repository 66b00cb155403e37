package probe

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Validate returns nil if p is valid. Otherwise it returns all mistakes, joined, each in one
// sentence with field, reason and remedy. Do and the other methods call Validate: with an invalid
// Probe they return LocalError, and do not resolve anything.
func (p *Probe) Validate() error {
	if p == nil {
		return errors.New("the *Probe is nil; use new(probe.Probe) for the defaults")
	}
	var errs []error
	refuse := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	for _, limit := range []struct {
		field      string
		value, def time.Duration
	}{
		{"Probe.Connect", p.Connect, DefaultConnect},
		{"Probe.Read", p.Read, DefaultRead},
		{"Probe.Total", p.Total, DefaultTotal},
	} {
		refuse(limit.value < 0, "%s is %s, which is negative; use a positive duration, or 0 for %s", limit.field, limit.value, limit.def)
	}
	refuse(p.MaxBytes < 0, "Probe.MaxBytes is %d, which is negative; use a positive number, or 0 for %d", p.MaxBytes, DefaultMaxBytes)
	refuse(p.Family != 0 && p.Family != 4 && p.Family != 6, "Probe.Family is %d, which is no IP version; use 4 or 6, or 0 for both", p.Family)
	refuse(p.Proxy < 0 || p.Proxy > 2, "Probe.Proxy is %d, which is no version of the PROXY protocol; use 1 or 2, or 0 for none", p.Proxy)
	refuse(p.HangUp != Politely && p.HangUp != Abruptly, "Probe.HangUp is %d, which is unknown; use Politely or Abruptly", p.HangUp)
	if p.Protocol != "" && !slices.Contains(Protocols(), p.Protocol) { // choices are written only if they are needed
		refuse(true, "Probe.Protocol is %q, which is unknown; use %s, or \"\" to guess", p.Protocol, choices(Protocols()))
	}
	if _, known := startTLS[p.StartTLS]; p.StartTLS != "" && !known {
		refuse(true, "Probe.StartTLS is %q, which is not supported; use %s, or \"\" for no STARTTLS", p.StartTLS, choices(StartTLSProtocols()))
	}
	refuse(p.StartTLS != "" && p.ConnectOnly, "Probe.ConnectOnly reads no greeting, and Probe.StartTLS needs one; use one of them")
	refuse(len(p.Steps) > 0 && p.ConnectOnly, "Probe.ConnectOnly reads no greeting, and Probe.Steps come after it; use one of them")
	refuse(slices.ContainsFunc(p.Steps, func(s Step) bool { return s.verb == "" }), "Probe.Steps has a zero Step; make it with ExpectStep, RejectStep, SendStep, TLSStep or ParseStep")
	for _, step := range p.Steps {
		_, known := startTLS[step.protocol]
		refuse(step.protocol != "" && !known, "Probe.Steps has STARTTLS in %q, which is not supported; use %s", step.protocol, choices(StartTLSProtocols()))
	}
	refuse(p.StartTLS != "" && slices.ContainsFunc(p.Steps, Step.StartsTLS), "Probe.StartTLS comes before Probe.Steps, which have a TLSStep; use one of them")
	refuse(strings.ContainsAny(p.EHLO, " \t\r\n\x00"), "Probe.EHLO is %q, which is no name; use a name without white space, or \"\" for the address", p.EHLO)
	return errors.Join(errs...)
}

// choices returns the words in quotes, as in "a", "b" or "c".
func choices[T ~string](words []T) string {
	var quoted []string
	for _, word := range words {
		quoted = append(quoted, fmt.Sprintf("%q", string(word)))
	}
	last := len(quoted) - 1
	return strings.Join(quoted[:last], ", ") + " or " + quoted[last]
}

// valid returns the target to probe. If its Host is an address, Addr is set too. It returns an error if p,
// ctx or target is not valid; for target this is a targetError.
func (p *Probe) valid(ctx context.Context, target Target) (Target, error) {
	if err := p.ready(ctx); err != nil {
		return target, err
	}
	whole, err := target.valid(p.Dial != nil)
	if err != nil {
		return target, targetError{err}
	}
	return whole, nil
}

// ready returns an error if p or ctx is not valid.
func (p *Probe) ready(ctx context.Context) error {
	err := p.Validate()
	if err == nil && ctx == nil {
		err = errNoContext
	}
	return err
}

var errNoContext = errors.New("the context is nil; use context.Background()")

type targetError struct{ error }

// valid returns t with both Host and Addr if one of them is an address. With anyPort
// its port may be 0.
func (t Target) valid(anyPort bool) (Target, error) {
	if t.Path != "" {
		if t.Host != "" || t.Addr.IsValid() || t.Port != 0 {
			return t, errors.New("Target.Path is set beside Host, Addr or Port; use either a path or a host and a port")
		}
		return unixTarget(t.Path)
	}
	if t.Host == "" && !t.Addr.IsValid() {
		return t, errors.New("Target.Host is empty; set a name or an address, or use ParseTarget")
	}
	if t.Port == 0 && !anyPort {
		return t, errors.New("Target.Port is 0; set a port from 1 to 65535")
	}
	if t.Host == "" {
		t.Host = t.Addr.String()
	} else if addr, err := netip.ParseAddr(t.Host); err == nil && !t.Addr.IsValid() {
		t.Host, t.Addr = addr.String(), addr
	}
	return t, nil
}

// invalid returns the Result for a target that cannot be probed because of err.
func invalid(target Target, err error) Result {
	status := LocalError
	if bad, ok := errors.AsType[targetError](err); ok {
		status, err = InvalidTarget, bad.error
	}
	return Result{Time: time.Now(), Target: target, Status: status, Phase: PhaseResolve, Err: err}
}
