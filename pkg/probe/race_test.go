package probe_test

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"greetd.example/internal/test/memnet"
	"greetd.example/internal/test/testserver"
	"greetd.example/pkg/probe"
)

// A network answers lookups and dials in memory.
type network struct {
	lookups map[string]lookup // by "ip4" or "ip6"
	hosts   map[string]host   // by address
	open    sync.WaitGroup    // servers
}

type lookup struct {
	after time.Duration
	addrs []string
	err   error
}

// A host connects after a while and then speaks, or fails with err, or never does
// either if neither is set.
type host struct {
	after    time.Duration
	behavior testserver.Behavior
	err      error
}

// probe returns a Probe of the network.
func (n *network) probe() probe.Probe {
	return probe.Probe{Dial: n.dial, Resolve: n.resolve, Protocol: probe.Plain}
}

func (n *network) resolve(ctx context.Context, family, name string) ([]netip.Addr, error) {
	l, ok := n.lookups[family]
	if !ok {
		return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
	}
	if err := sleep(ctx, l.after); err != nil {
		return nil, err
	}
	var addrs []netip.Addr
	for _, s := range l.addrs {
		addrs = append(addrs, addr(s))
	}
	return addrs, l.err
}

func (n *network) dial(ctx context.Context, _, address string) (net.Conn, error) {
	to := netip.MustParseAddrPort(address)
	h := n.hosts[to.Addr().String()]
	if h.err == nil && h.behavior == nil {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if err := sleep(ctx, h.after); err != nil {
		return nil, err
	}
	if h.err != nil {
		return nil, &net.OpError{Op: "dial", Err: h.err}
	}
	client, server := memnet.Pipe(net.TCPAddrFromAddrPort(netip.MustParseAddrPort("192.0.2.1:40000")), net.TCPAddrFromAddrPort(to))
	n.open.Go(func() { // the test waits
		h.behavior(server)
		server.Close()
	})
	return client, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func ms(n int) time.Duration { return time.Duration(n) * time.Millisecond }

// TestHappyEyeballs holds the race against RFC 8305, in fake time.
func TestHappyEyeballs(t *testing.T) {
	greets := host{behavior: testserver.Greet("220 hi\n")}
	silent := host{}
	refused := host{err: syscall.ECONNREFUSED}
	slowly := host{err: syscall.ECONNREFUSED, after: ms(10)}
	both := func(v6, v4 []string) map[string]lookup {
		return map[string]lookup{"ip6": {addrs: v6}, "ip4": {addrs: v4}}
	}
	for _, test := range []struct {
		name    string
		network *network
		change  func(*probe.Probe)
		status  probe.Status
		total   time.Duration
		tried   []string // "address result begin-end" in milliseconds
	}{{
		name:    "IPv6 first, one is enough",
		network: &network{lookups: both([]string{"::1"}, []string{"127.0.0.1"}), hosts: map[string]host{"::1": greets, "127.0.0.1": greets}},
		tried:   []string{"[::1]:25 connected 0-0"},
	}, {
		name:    "IPv6 refused: IPv4 at once",
		network: &network{lookups: both([]string{"::1"}, []string{"127.0.0.1"}), hosts: map[string]host{"::1": refused, "127.0.0.1": greets}},
		tried:   []string{"[::1]:25 refused 0-0", "127.0.0.1:25 connected 0-0"},
	}, {
		name:    "IPv6 silent: IPv4 after 250 ms",
		network: &network{lookups: both([]string{"::1"}, []string{"127.0.0.1"}), hosts: map[string]host{"127.0.0.1": greets}},
		total:   ms(250),
		tried:   []string{"[::1]:25 canceled 0-250", "127.0.0.1:25 connected 250-250"},
	}, {
		name:    "IPv6 slow, and faster in the end",
		network: &network{lookups: both([]string{"::1"}, []string{"127.0.0.1"}), hosts: map[string]host{"::1": {after: ms(300), behavior: greets.behavior}, "127.0.0.1": {after: ms(100), behavior: greets.behavior}}},
		total:   ms(300),
		tried:   []string{"[::1]:25 connected 0-300", "127.0.0.1:25 canceled 250-300"},
	}, {
		name:    "no attempt after the limit",
		network: &network{lookups: both([]string{"::1", "::2"}, []string{"127.0.0.1"})},
		change:  func(p *probe.Probe) { p.Connect = ms(100) },
		status:  probe.ConnectTimeout,
		total:   ms(100),
		tried:   []string{"[::1]:25 timeout 0-100"},
	}, {
		name:    "families in turn",
		network: &network{lookups: both([]string{"2001:db8::1", "2001:db8::2"}, []string{"192.0.2.1", "192.0.2.2"}), hosts: map[string]host{"2001:db8::1": slowly, "192.0.2.1": slowly, "2001:db8::2": slowly, "192.0.2.2": slowly}},
		status:  probe.Refused,
		total:   ms(40),
		tried:   []string{"[2001:db8::1]:25 refused 0-10", "192.0.2.1:25 refused 10-20", "[2001:db8::2]:25 refused 20-30", "192.0.2.2:25 refused 30-40"},
	}, {
		name:    "AAAA a little late: waits 50 ms at most",
		network: &network{lookups: map[string]lookup{"ip4": {addrs: []string{"127.0.0.1"}}, "ip6": {after: ms(40), addrs: []string{"::1"}}}, hosts: map[string]host{"::1": greets, "127.0.0.1": greets}},
		total:   ms(40),
		tried:   []string{"[::1]:25 connected 40-40"},
	}, {
		name:    "AAAA late: IPv4 after 50 ms",
		network: &network{lookups: map[string]lookup{"ip4": {addrs: []string{"127.0.0.1"}}, "ip6": {after: time.Hour}}, hosts: map[string]host{"127.0.0.1": greets}},
		total:   ms(50),
		tried:   []string{"127.0.0.1:25 connected 50-50"},
	}, {
		name:    "no AAAA: IPv4 at once",
		network: &network{lookups: map[string]lookup{"ip4": {addrs: []string{"127.0.0.1"}}}, hosts: map[string]host{"127.0.0.1": greets}},
		tried:   []string{"127.0.0.1:25 connected 0-0"},
	}, {
		name:    "A late: IPv6 at once, and IPv4 when it comes",
		network: &network{lookups: map[string]lookup{"ip6": {addrs: []string{"::1"}}, "ip4": {after: ms(400), addrs: []string{"127.0.0.1"}}}, hosts: map[string]host{"127.0.0.1": greets}},
		total:   ms(400),
		tried:   []string{"[::1]:25 canceled 0-400", "127.0.0.1:25 connected 400-400"},
	}, {
		name:    "nobody answers: 5 s for all together",
		network: &network{lookups: both([]string{"::1"}, []string{"127.0.0.1", "127.0.0.2"}), hosts: map[string]host{"::1": silent}},
		status:  probe.ConnectTimeout,
		total:   5 * time.Second,
		tried:   []string{"[::1]:25 timeout 0-5000", "127.0.0.1:25 timeout 250-5000", "127.0.0.2:25 timeout 500-5000"},
	}, {
		name:    "one refuses, one is silent",
		network: &network{lookups: both([]string{"::1"}, []string{"127.0.0.1"}), hosts: map[string]host{"::1": refused}},
		status:  probe.ConnectTimeout,
		total:   5 * time.Second,
		tried:   []string{"[::1]:25 refused 0-0", "127.0.0.1:25 timeout 0-5000"},
	}, {
		name:    "no IPv6 here, IPv4 refused",
		network: &network{lookups: both([]string{"2001:db8::1"}, []string{"127.0.0.1"}), hosts: map[string]host{"2001:db8::1": {err: syscall.ENETUNREACH}, "127.0.0.1": refused}},
		status:  probe.Refused,
		tried:   []string{"[2001:db8::1]:25 unreachable 0-0", "127.0.0.1:25 refused 0-0"},
	}, {
		name:    "-4",
		network: &network{lookups: both([]string{"::1"}, []string{"127.0.0.1"}), hosts: map[string]host{"::1": greets, "127.0.0.1": greets}},
		change:  func(p *probe.Probe) { p.Family = 4 },
		tried:   []string{"127.0.0.1:25 connected 0-0"},
	}, {
		name:    "an IPv6 source",
		network: &network{lookups: both([]string{"::1"}, []string{"127.0.0.1"}), hosts: map[string]host{"::1": refused, "127.0.0.1": greets}},
		change:  func(p *probe.Probe) { p.Source = addr("::1") },
		status:  probe.Refused,
		tried:   []string{"[::1]:25 refused 0-0"},
	}, {
		name:    "out of descriptors",
		network: &network{lookups: both([]string{"::1"}, []string{"127.0.0.1"}), hosts: map[string]host{"::1": refused, "127.0.0.1": {err: syscall.EMFILE}}},
		status:  probe.LocalError,
		tried:   []string{"[::1]:25 refused 0-0", "127.0.0.1:25 local_error 0-0"},
	}, {
		name:    "accepted, and reset at once",
		network: &network{lookups: both(nil, []string{"127.0.0.1"}), hosts: map[string]host{"127.0.0.1": {err: syscall.ECONNRESET}}},
		status:  probe.Reset,
		tried:   []string{"127.0.0.1:25 reset 0-0"},
	}, {
		name:    "the resolver is silent: 15 s in all",
		network: &network{lookups: map[string]lookup{"ip4": {after: time.Hour}, "ip6": {after: time.Hour}}},
		status:  probe.ResolveFailed,
		total:   15 * time.Second,
	}, {
		name:    "no such host",
		network: &network{},
		status:  probe.ResolveFailed,
	}, {
		name:    "no addresses",
		network: &network{lookups: both(nil, nil)},
		status:  probe.ResolveFailed,
	}} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				defer test.network.open.Wait()
				p := test.network.probe()
				if test.change != nil {
					test.change(&p)
				}
				r := p.Do(t.Context(), parse(t, "mail.example:25"))
				if want := cmp.Or(test.status, probe.OK); r.Status != want {
					t.Errorf("status = %s (%v), want %s", r.Status, r.Err, want)
				}
				if r.Timing.Total != test.total {
					t.Errorf("took %s, want %s", r.Timing.Total, test.total)
				}
				var tried []string
				for _, a := range r.Attempts {
					tried = append(tried, a.Addr.String()+" "+string(a.Result)+" "+span(a))
				}
				if !slices.Equal(tried, test.tried) {
					t.Errorf("attempts = %q, want %q", tried, test.tried)
				}
			})
		})
	}
}

// An attempt that connects in spite of its cancellation is hung up on, and counts for
// nothing.
func TestLosersAreHungUpOn(t *testing.T) {
	for _, test := range []struct {
		name       string
		ipv6, ipv4 time.Duration // until they connect
		limit      time.Duration
		winner     string
	}{
		{"the first is late", ms(300), 0, 0, "127.0.0.1:25"},
		{"both are too late", ms(300), ms(300), ms(275), "[::1]:25"},
	} {
		synctest.Test(t, func(t *testing.T) {
			n := &network{
				lookups: map[string]lookup{"ip6": {addrs: []string{"::1"}}, "ip4": {addrs: []string{"127.0.0.1"}}},
				hosts:   map[string]host{"::1": {behavior: testserver.Greet("hi\n")}, "127.0.0.1": {behavior: testserver.Greet("hi\n")}},
			}
			defer n.open.Wait() // for ever, if a loser stays connected
			p := n.probe()
			p.Connect = test.limit
			p.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
				if network == "tcp6" {
					time.Sleep(test.ipv6)
				} else {
					time.Sleep(test.ipv4)
				}
				return n.dial(context.WithoutCancel(ctx), network, address)
			}
			r := p.Do(t.Context(), parse(t, "mail.example:25"))
			if r.Status != probe.OK || r.Remote != test.winner || len(r.Attempts) != 2 {
				t.Fatalf("%s: %s %v from %s, attempts %+v", test.name, r.Status, r.Err, r.Remote, r.Attempts)
			}
			for _, a := range r.Attempts {
				if won := a.Addr.String() == test.winner; won != (a.Result == probe.AttemptConnected) || !won && a.Result != probe.AttemptCanceled {
					t.Errorf("%s: %s: %s %v", test.name, a.Addr, a.Result, a.Err)
				}
			}
		})
	}
}

// Do returns when all that it began has ended: a lookup too that nobody needs any more.
func TestLookupsEndBeforeDoReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{lookups: map[string]lookup{"ip4": {addrs: []string{"127.0.0.1"}}}, hosts: map[string]host{"127.0.0.1": {behavior: testserver.Greet("hi\n")}}}
		defer n.open.Wait()
		p := n.probe()
		var running atomic.Int64
		p.Resolve = func(ctx context.Context, network, name string) ([]netip.Addr, error) {
			running.Add(1)
			defer running.Add(-1)
			if network == "ip6" {
				<-ctx.Done() // when IPv4 has won
				time.Sleep(ms(10))
			}
			return n.resolve(ctx, network, name)
		}
		if r := p.Do(t.Context(), parse(t, "mail.example:25")); r.Status != probe.OK || r.Timing.Total > time.Second || running.Load() != 0 {
			t.Errorf("%s %v after %s, %d lookups still run", r.Status, r.Err, r.Timing.Total, running.Load())
		}
		if _, err := p.Addresses(t.Context(), parse(t, "mail.example:25")); err != nil || running.Load() != 0 {
			t.Errorf("addresses: %v, %d lookups still run", err, running.Load())
		}
	})
}

func span(a probe.Attempt) string {
	return itoa(a.Start.Milliseconds()) + "-" + itoa(a.End.Milliseconds())
}

func TestResolveErrorsAreWords(t *testing.T) {
	for _, test := range []struct {
		host    string
		lookups map[string]lookup
		family  int
		want    string
	}{
		{"mail.example", nil, 0, "resolve mail.example: no such host"},
		{"bücher.example", nil, 0, "resolve bücher.example (xn--bcher-kva.example): no such host"},
		{"mail.example", map[string]lookup{"ip4": {err: &net.DNSError{Err: "server misbehaving", Server: "192.0.2.53:53", IsTemporary: true}}}, 0, "resolve mail.example: server misbehaving (asked 192.0.2.53:53)"},
		{"mail.example", map[string]lookup{"ip4": {}}, 4, "resolve mail.example: it has no IPv4 address"},
		{"mail.example", map[string]lookup{"ip4": {}, "ip6": {}}, 0, "resolve mail.example: it has no IPv6 or IPv4 address"},
		{"127.0.0.1", nil, 6, "it is an IPv4 address, and only IPv6 may be used"},
		{"mail.example", map[string]lookup{"ip4": {after: time.Hour}, "ip6": {after: time.Hour}}, 0, "resolve mail.example: no answer within 15s in all"},
	} {
		synctest.Test(t, func(t *testing.T) {
			n := &network{lookups: test.lookups}
			p := n.probe()
			p.Family = test.family
			r := p.Do(t.Context(), parse(t, test.host+":25"))
			if r.Status != probe.ResolveFailed || r.Phase != probe.PhaseResolve || r.Err.Error() != test.want {
				t.Errorf("%s in phase %s: %v, want %s", r.Status, r.Phase, r.Err, test.want)
			}
		})
	}
}

func TestConnectErrorTellsEachAddress(t *testing.T) {
	n := &network{
		hosts:   map[string]host{"::1": {err: syscall.ECONNREFUSED}, "127.0.0.1": {err: syscall.EHOSTUNREACH}},
		lookups: map[string]lookup{"ip6": {addrs: []string{"::1"}}, "ip4": {addrs: []string{"127.0.0.1"}}},
	}
	p := n.probe()
	r := p.Do(t.Context(), parse(t, "mail.example:25"))
	if got, want := r.Err.Error(), "[::1]:25: connection refused; 127.0.0.1:25: no route to host"; got != want {
		t.Errorf("error = %q, want %q", got, want)
	}
	if !errors.Is(r.Err, syscall.EHOSTUNREACH) {
		t.Errorf("%v does not unwrap to its reasons", r.Err)
	}
}

func TestCancelEndsEveryPhase(t *testing.T) {
	for name, n := range map[string]*network{
		"resolve":  {lookups: map[string]lookup{"ip4": {after: time.Hour}, "ip6": {after: time.Hour}}},
		"connect":  {lookups: map[string]lookup{"ip4": {addrs: []string{"127.0.0.1"}}}},
		"greeting": {lookups: map[string]lookup{"ip4": {addrs: []string{"127.0.0.1"}}}, hosts: map[string]host{"127.0.0.1": {behavior: testserver.Silent}}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(time.Second, cancel)
				defer n.open.Wait()
				p := n.probe()
				r := p.Do(ctx, parse(t, "mail.example:25"))
				if r.Status != probe.Canceled || string(r.Phase) != name || r.Timing.Total != time.Second {
					t.Errorf("%s in %s after %s", r.Status, r.Phase, r.Timing.Total)
				}
			})
		})
	}
}

func TestContextDeadlineCountsAsTotal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		n := &network{lookups: map[string]lookup{"ip4": {addrs: []string{"127.0.0.1"}}}, hosts: map[string]host{"127.0.0.1": {behavior: testserver.Silent}}}
		defer n.open.Wait()
		p := n.probe()
		r := p.Do(ctx, parse(t, "mail.example:25"))
		if r.Status != probe.NoGreeting || r.Timing.Total != time.Second {
			t.Errorf("%s after %s: %v", r.Status, r.Timing.Total, r.Err)
		}
	})
}

func TestTotalCapsReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{lookups: map[string]lookup{"ip4": {after: 7 * time.Second, addrs: []string{"127.0.0.1"}}}, hosts: map[string]host{"127.0.0.1": {behavior: testserver.Silent}}}
		defer n.open.Wait()
		p := n.probe()
		r := p.Do(t.Context(), parse(t, "mail.example:25"))
		if r.Status != probe.NoGreeting || r.Timing.Total != 15*time.Second {
			t.Errorf("%s after %s: %v", r.Status, r.Timing.Total, r.Err)
		}
	})
}

func TestDoAllProbesEachAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{
			lookups: map[string]lookup{"ip6": {addrs: []string{"::1"}}, "ip4": {after: time.Second, addrs: []string{"127.0.0.1", "127.0.0.2", "127.0.0.1"}}},
			hosts:   map[string]host{"127.0.0.1": {behavior: testserver.Greet("one\n")}, "127.0.0.2": {behavior: testserver.Greet("two\n")}, "::1": {err: syscall.ECONNREFUSED}},
		}
		defer n.open.Wait()
		p := n.probe()
		var got []string
		for _, r := range p.DoAll(t.Context(), parse(t, "mail.example:25")) {
			got = append(got, r.Target.String()+" "+string(r.Status)+" "+r.Timing.Resolve.String())
		}
		want := []string{"mail.example[::1]:25 refused 1s", "mail.example[127.0.0.1]:25 ok 1s", "mail.example[127.0.0.2]:25 ok 1s"}
		if !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestDoAllReportsWhatCannotBeResolved(t *testing.T) {
	n := &network{}
	p := n.probe()
	rs := p.DoAll(t.Context(), parse(t, "mail.example:25"))
	if len(rs) != 1 || rs[0].Status != probe.ResolveFailed {
		t.Errorf("%+v", rs)
	}
}
