package probe_test

import (
	"context"
	"errors"
	"io"
	"math"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"greetd.example/internal/test/testserver"
	"greetd.example/pkg/probe"
)

func TestBadProbesAreErrors(t *testing.T) {
	target := parse(t, testserver.Listen(t, testserver.Greet("hi\n")).Addr)
	var none *probe.Probe
	for want, p := range map[string]*probe.Probe{
		"the *Probe is nil; use new(probe.Probe)":   none,
		"Probe.Connect is -1s, which is negative":   {Connect: -time.Second},
		"Probe.Read is -1ns, which is negative":     {Read: -1},
		"Probe.Total is -1s, which is negative":     {Total: -time.Second},
		"Probe.MaxBytes is -1, which is negative":   {MaxBytes: -1},
		"Probe.Family is 5, which is no IP vers":    {Family: 5},
		"Probe.Family is -4, which is no IP ver":    {Family: -4},
		"Probe.Proxy is 3, which is no version":     {Proxy: 3},
		"Probe.Proxy is -1, which is no version":    {Proxy: -1},
		"Probe.HangUp is 2, which is unknown":       {HangUp: 2},
		`Probe.StartTLS is "gopher", which is no`:   {StartTLS: "gopher"},
		"Probe.Steps has a zero Step; make it wi":   {Steps: make([]probe.Step, 1)},
		`Probe.Steps has STARTTLS in "gopher", w`:   {Steps: []probe.Step{probe.TLSStep("gopher")}},
		`Probe.EHLO is "a\r\nRSET", which is no na`: {EHLO: "a\r\nRSET"},
		`Probe.StartTLS is "SMTP", which is not `:   {StartTLS: "SMTP"},
		"Probe.ConnectOnly reads no greeting, an":   {StartTLS: probe.SMTP, ConnectOnly: true},
		"Probe.Dial returned neither a connectio":   {Dial: func(context.Context, string, string) (net.Conn, error) { return nil, nil }}, //nolint:nilnil // what is tested
	} {
		for name, r := range everyWay(t, p, target) {
			if r.Status != probe.LocalError || r.Err == nil || !strings.HasPrefix(r.Err.Error(), want) || !strings.Contains(r.Err.Error(), ";") {
				t.Errorf("%s: %s %v, want %q and a remedy", name, r.Status, r.Err, want)
			}
			if r.Target != target {
				t.Errorf("%s: the result is about %v", name, r.Target)
			}
		}
	}
}

// everyWay returns what each method makes of p and target.
func everyWay(t *testing.T, p *probe.Probe, target probe.Target) map[string]probe.Result {
	t.Helper()
	one := probe.Many{Do: func(ctx context.Context, t probe.Target) []probe.Result { return p.DoAll(ctx, t) }}
	all := map[string]probe.Result{
		"Do":    p.Do(t.Context(), target),
		"DoAll": p.DoAll(t.Context(), target)[0],
		"Wait":  p.Wait(t.Context(), target, time.Millisecond, nil),
	}
	one.Run(t.Context(), slices.Values([]probe.Target{target}), func(r probe.Result) { all["Many"] = r })
	return all
}

func TestSeveralMistakesAreToldAtOnce(t *testing.T) {
	err := (&probe.Probe{Read: -1, MaxBytes: -1, Family: 5}).Validate()
	if err == nil || len(strings.Split(err.Error(), "\n")) != 3 {
		t.Errorf("error = %v, want three lines", err)
	}
	if err := new(probe.Probe).Validate(); err != nil {
		t.Error(err)
	}
}

func TestOddProbesWork(t *testing.T) {
	target := parse(t, testserver.Listen(t, testserver.Greet("hi\n")).Addr)
	const long = time.Duration(math.MaxInt64)
	for name, p := range map[string]probe.Probe{
		"the longest times": {Connect: long, Read: long, Total: long, Idle: long, MaxBytes: math.MaxInt},
		"no idle limit":     {Idle: math.MinInt64},
		"nothing expected":  {ExpectAll: true},
		"one byte":          {MaxBytes: 1},
		"the zero Pattern":  {Expect: []probe.Pattern{{}}},
	} {
		if r := p.Do(t.Context(), target); r.Status != probe.OK {
			t.Errorf("%s: %s %v", name, r.Status, r.Err)
		}
	}
	p := probe.Probe{Total: 1}
	if r := p.Do(t.Context(), target); r.Err == nil {
		t.Error("a nanosecond was enough")
	}
}

func TestBadTargetsAreErrors(t *testing.T) {
	for want, target := range map[string]probe.Target{
		"Target.Host is empty; set":    {},
		"Target.Port is 0; set a port": {Host: "127.0.0.1"},
		"Target.Path is set beside":    {Path: "/x", Host: "localhost"},
		"unix:xxxx":                    {Path: strings.Repeat("x", 108)},
		`"a b" is not a host name`:     {Host: "a b", Port: 25},
		`"[::1]" is not a host name`:   {Host: "[::1]", Port: 25},
	} {
		for name, r := range everyWay(t, new(probe.Probe), target) {
			if r.Status == probe.OK || r.Err == nil || !strings.HasPrefix(r.Err.Error(), want) {
				t.Errorf("%s of %+v: %s %v, want %q", name, target, r.Status, r.Err, want)
			}
		}
	}
	var nobody context.Context
	if r := new(probe.Probe).Do(nobody, parse(t, "127.0.0.1:1")); r.Status != probe.LocalError || !strings.HasPrefix(r.Err.Error(), "the context is nil; ") {
		t.Errorf("nil context: %s %v", r.Status, r.Err)
	}
	if _, err := new(probe.Probe).Addresses(t.Context(), probe.Target{}); err == nil {
		t.Error("no target has addresses")
	}
}

func TestAddressAsHost(t *testing.T) {
	target := parse(t, testserver.Listen(t, testserver.Greet("hi\n")).Addr)
	for _, same := range []probe.Target{
		{Host: "127.0.0.1", Port: target.Port},
		{Addr: netip.MustParseAddr("127.0.0.1"), Port: target.Port},
		{Host: "::ffff:127.0.0.1", Port: target.Port},
	} {
		p := probe.Probe{Resolve: func(context.Context, string, string) ([]netip.Addr, error) {
			t.Error("an address was resolved")
			return nil, errors.New("no")
		}}
		for name, r := range everyWay(t, &p, same) {
			if name == "Wait" {
				continue // a millisecond may be too short
			}
			if r.Status != probe.OK || r.Target != same {
				t.Errorf("%s of %+v: %s %v, target %+v", name, same, r.Status, r.Err, r.Target)
			}
		}
		if back := parse(t, same.String()); back.Port != same.Port {
			t.Errorf("%+v is %s", same, same)
		}
		if addrs, err := p.Addresses(t.Context(), same); err != nil || len(addrs) != 1 {
			t.Errorf("addresses of %+v: %v, %v", same, addrs, err)
		}
	}
}

func TestBadManyGivesEachTargetAnError(t *testing.T) {
	do := func(context.Context, probe.Target) []probe.Result { return nil }
	for want, m := range map[string]*probe.Many{
		"Many.Do and Many.All are nil; ": {},
		"Many.Parallel is -1, ":          {Do: do, Parallel: -1},
	} {
		n := 0
		m.Run(t.Context(), slices.Values(targets(t, 3)), func(r probe.Result) {
			n++
			if r.Status != probe.LocalError || !strings.HasPrefix(r.Err.Error(), want) {
				t.Errorf("%s %v, want %s", r.Status, r.Err, want)
			}
		})
		if n != 3 {
			t.Errorf("%s: %d results, want 3", want, n)
		}
	}
	(&probe.Many{Do: do}).Run(t.Context(), nil, nil)
	(&probe.Many{Do: do}).Run(t.Context(), slices.Values(targets(t, 1)), nil)
}

// A connection of somebody else's may know no addresses.
type nowhere struct{ net.Conn }

func (nowhere) LocalAddr() net.Addr  { return nil }
func (nowhere) RemoteAddr() net.Addr { return nil }

func TestDialWithOddConnections(t *testing.T) {
	for _, proxy := range []int{0, 1, 2} {
		p := probe.Probe{Proxy: proxy, Dial: func(context.Context, string, string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			go func() {
				go func() { _, _ = io.Copy(io.Discard, theirs) }()
				_, _ = io.WriteString(theirs, "hi\n")
				theirs.Close()
			}()
			return nowhere{ours}, nil
		}}
		for _, target := range []probe.Target{{Host: "127.0.0.1"}, {Path: "/x"}} {
			if r := p.Do(t.Context(), target); r.Status != probe.OK || r.Local != "" {
				t.Errorf("PROXY %d, %v: %s %v from %q", proxy, target, r.Status, r.Err, r.Local)
			}
		}
	}
}

func TestResolveWithoutAddresses(t *testing.T) {
	for want, found := range map[string][]netip.Addr{
		"resolve mail.example: it has no IPv6 or IPv4 address":  nil,
		"resolve mail.example: Probe.Resolve returned the zero": {{}},
	} {
		p := probe.Probe{Resolve: func(context.Context, string, string) ([]netip.Addr, error) { return found, nil }}
		if r := p.Do(t.Context(), parse(t, "mail.example:25")); r.Status != probe.ResolveFailed || !strings.HasPrefix(r.Err.Error(), want) {
			t.Errorf("%s %v, want %s", r.Status, r.Err, want)
		}
	}
}
