package access

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"greetd.example/pkg/service"
)

var start = time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)

// at is a visitor who arrives after so long.
func at(address string, after time.Duration) service.Peer {
	p := peer(address)
	p.Arrived = start.Add(after)
	return p
}

func sources(l Limits) *Sources {
	s := new(Sources)
	s.Update(l)
	return s
}

// admit fails the test if the visitor's verdict is not want, and returns leave.
func admit(t *testing.T, s *Sources, p service.Peer, want error) func() {
	t.Helper()
	leave, err := s.Admit(p)
	if !errors.Is(err, want) || (err == nil) != (want == nil) {
		t.Errorf("%s after %s: %v, want %v", p.Remote.Addr(), p.Arrived.Sub(start), err, want)
	}
	if err != nil && leave != nil {
		t.Error("a refused visitor is to leave")
	}
	return leave
}

func TestConnectionsOfOneSource(t *testing.T) {
	s := sources(Limits{Connections: 2})
	first := admit(t, s, at("192.0.2.1", 0), nil)
	admit(t, s, at("::ffff:192.0.2.1", 0), nil)
	admit(t, s, at("192.0.2.1", time.Hour), ErrTooMany)
	admit(t, s, at("192.0.2.2", 0), nil)
	first()
	again := admit(t, s, at("192.0.2.1", 0), nil)
	admit(t, s, at("192.0.2.1", 0), ErrTooMany)
	again()
	admit(t, s, at("192.0.2.1", 0), nil)
}

func TestRateOfOneSource(t *testing.T) {
	s := sources(Limits{Rate: 0.5, Burst: 3})
	for range 3 {
		admit(t, s, at("192.0.2.1", 0), nil)
	}
	admit(t, s, at("192.0.2.1", 0), ErrTooFast)
	admit(t, s, at("192.0.2.1", 1999*time.Millisecond), ErrTooFast)
	admit(t, s, at("192.0.2.1", 2*time.Second), nil)
	admit(t, s, at("192.0.2.1", 2*time.Second), ErrTooFast)
	admit(t, s, at("192.0.2.2", 2*time.Second), nil)
	for range 3 {
		admit(t, s, at("192.0.2.1", time.Hour), nil)
	}
	admit(t, s, at("192.0.2.1", time.Hour), ErrTooFast)
}

func TestBurstIsTheRateRoundedUp(t *testing.T) {
	for rate, burst := range map[float64]int{0.1: 1, 1: 1, 1.5: 2, 10: 10} {
		s := sources(Limits{Rate: rate})
		for range burst {
			admit(t, s, at("192.0.2.1", 0), nil)
		}
		admit(t, s, at("192.0.2.1", 0), ErrTooFast)
	}
}

func TestBurstOfOneAtAHighRate(t *testing.T) {
	s := sources(Limits{Rate: 10, Burst: 1})
	admit(t, s, at("192.0.2.1", 0), nil)
	admit(t, s, at("192.0.2.1", 0), ErrTooFast)
	admit(t, s, at("192.0.2.1", 100*time.Millisecond), nil)
}

// A visit may be admitted after one that arrived later.
func TestVisitsOutOfOrder(t *testing.T) {
	s := sources(Limits{Rate: 1, Burst: 2})
	admit(t, s, at("192.0.2.1", 3*time.Second), nil)
	admit(t, s, at("192.0.2.1", time.Second), nil)
	admit(t, s, at("192.0.2.1", 2*time.Second), ErrTooFast)
	admit(t, s, at("192.0.2.1", 3999*time.Millisecond), ErrTooFast)
	admit(t, s, at("192.0.2.1", 4*time.Second), nil)
}

func TestWhoIsOneSource(t *testing.T) {
	for _, c := range []struct {
		name   string
		limits Limits
		a, b   string
		same   bool
	}{
		{"IPv4", Limits{}, "192.0.2.1", "192.0.2.0", false},
		{"IPv6", Limits{}, "2001:db8::1", "2001:db8::ffff:0:0:1", true},
		{"next IPv6", Limits{}, "2001:db8::1", "2001:db8:0:1::1", false},
		{"zones", Limits{}, "fe80::1%eth0", "fe80::2%eth1", true},
		{"IPv4 /24", Limits{IPv4Prefix: 24}, "192.0.2.1", "::ffff:192.0.2.255", true},
		{"IPv6 /56", Limits{IPv6Prefix: 56}, "2001:db8:0:1::1", "2001:db8:0:2::", true},
		{"IPv6 /128", Limits{IPv6Prefix: 128}, "2001:db8::1", "2001:db8::2", false},
		{"out of range", Limits{IPv4Prefix: 33}, "192.0.2.1", "192.0.2.2", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.limits.Connections = 1
			s := sources(c.limits)
			admit(t, s, at(c.a, 0), nil)
			want := error(nil)
			if c.same {
				want = ErrTooMany
			}
			admit(t, s, at(c.b, 0), want)
		})
	}
}

func TestRefusalSaysWhichSource(t *testing.T) {
	s := sources(Limits{Rate: 1})
	admit(t, s, at("2001:db8::1", 0), nil)
	_, err := s.Admit(at("2001:db8::2", 0))
	if want := "2001:db8::/64 comes too often (limits.per_source.rate)"; err == nil || err.Error() != want {
		t.Errorf("%v, want %q", err, want)
	}
	refusal, _ := errors.AsType[*Refusal](err)
	if refusal.Reason() != service.ReasonOverLimit {
		t.Errorf("reason %q", refusal.Reason())
	}
	if source, limited := refusal.LimitedSource(); !limited || source != netip.MustParsePrefix("2001:db8::/64") {
		t.Errorf("over its limit: %s, %t, want 2001:db8::/64", source, limited)
	}
}

func TestWithoutLimitsNothingIsRemembered(t *testing.T) {
	unlimited := new(Sources)
	for range 2 {
		if leave := admit(t, unlimited, at("192.0.2.1", 0), nil); leave != nil {
			t.Error("leave is not nil")
		}
		unlimited.Update(Limits{Burst: 5})
	}
	limited := sources(Limits{Rate: 1, Connections: 1})
	for range 10 {
		if leave := admit(t, limited, service.Peer{Arrived: start}, nil); leave != nil {
			t.Error("leave is not nil on a unix socket")
		}
	}
	if known(unlimited)+known(limited) != 0 {
		t.Error("somebody is remembered")
	}
}

func TestUpdateKeepsWhatIsKnown(t *testing.T) {
	s := sources(Limits{Connections: 2, Rate: 1, Burst: 4})
	leave := admit(t, s, at("192.0.2.1", 0), nil)
	admit(t, s, at("192.0.2.1", 0), nil)
	admit(t, s, at("192.0.2.1", 0), ErrTooMany)

	s.Update(Limits{Connections: 3, Rate: 1, Burst: 2})
	admit(t, s, at("192.0.2.1", 0), ErrTooFast)
	s.Update(Limits{Connections: 3, Rate: 1, Burst: 3})
	admit(t, s, at("192.0.2.1", 0), nil)
	s.Update(Limits{Connections: 3})
	admit(t, s, at("192.0.2.1", 0), ErrTooMany)
	leave()
	admit(t, s, at("192.0.2.1", 0), nil)
}

// Whoever came before a reload that sets a limit has no debt for it.
func TestWhatWasNotLimitedIsNotHeldAgainstAnybody(t *testing.T) {
	s := sources(Limits{Connections: 10})
	for range 5 {
		admit(t, s, at("192.0.2.1", 0), nil)()
	}
	s.Update(Limits{Rate: 1, Burst: 2})
	for range 2 {
		if leave := admit(t, s, at("192.0.2.1", 0), nil); leave != nil {
			t.Error("a connection counts while Connections is 0")
		}
	}
	s.Update(Limits{Connections: 1})
	admit(t, s, at("192.0.2.1", 0), nil)
	admit(t, s, at("192.0.2.1", 0), ErrTooMany)
}

// known is the number of sources that are remembered.
func known(s *Sources) int {
	n := 0
	for i := range s.shards {
		n += len(s.shards[i].sources)
	}
	return n
}

// numbered is the visitor of another source for each i.
func numbered(i uint32, after time.Duration) service.Peer {
	ip := netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, i)))
	return service.Peer{Remote: netip.AddrPortFrom(ip, 1), Arrived: start.Add(after)}
}

// Who could choose addresses that meet in one shard would have others wait for its lock.
func TestNobodyKnowsTheShardOfASource(t *testing.T) {
	spread := func() (shards []int) {
		s := sources(Limits{Rate: 1})
		for i := range uint32(10) {
			_, _ = s.Admit(numbered(i, 0))
			for j := range s.shards {
				if s.shards[j].sources[netip.PrefixFrom(numbered(i, 0).Remote.Addr(), 32)] != nil {
					shards = append(shards, j)
				}
			}
		}
		return shards
	}
	if one, other := spread(), spread(); slices.Equal(one, other) {
		t.Errorf("10 sources have the shards %d twice", one)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	s := sources(Limits{Connections: 1, Rate: 1})
	held := make([]func(), 1000)
	for i := range held {
		held[i], _ = s.Admit(numbered(uint32(i), 0))
	}
	for i := range uint32(1_000_000) {
		leave, err := s.Admit(numbered(i+1000, time.Duration(i)*time.Microsecond))
		if err != nil {
			t.Fatal(err)
		}
		leave()
	}
	const promised = 131_072 // by the doc comment of Sources
	if n := known(s); n > promised+len(held) {
		t.Errorf("%d sources are remembered, want at most %d", n, promised+len(held))
	}
	used := int64(heap()) - int64(before) //nolint:gosec // far below 2^63
	t.Logf("%d bytes a source", used/int64(known(s)))
	if used > 64<<20 {
		t.Errorf("%d bytes are used, want at most 64 MiB", used)
	}
	for i, leave := range held {
		admit(t, s, numbered(uint32(i), time.Hour), ErrTooMany)
		leave()
		admit(t, s, numbered(uint32(i), time.Hour), nil)
	}
}

// Even where everybody has connections open, they are counted.
func TestOpenConnectionsNeverGiveWay(t *testing.T) {
	s := sources(Limits{Connections: 1})
	const everybody = remembered + remembered/2
	leaves := make([]func(), everybody)
	for i := range leaves {
		leaves[i] = admit(t, s, numbered(uint32(i), 0), nil)
	}
	for i := range leaves {
		admit(t, s, numbered(uint32(i), 0), ErrTooMany)
	}
	for _, leave := range leaves {
		leave()
	}
	for i := range uint32(remembered) {
		_, _ = s.Admit(numbered(everybody+i, 0))
	}
	if n := known(s); n > remembered+remembered/8 {
		t.Errorf("%d sources are remembered, want about %d", n, remembered)
	}
}

// One of two connections is closed, and then comes a flood.
func TestTheOtherConnectionStaysCounted(t *testing.T) {
	s := sources(Limits{Connections: 2})
	admit(t, s, at("2001:db8::1", 0), nil)()
	leave := admit(t, s, at("2001:db8::1", 0), nil)
	other := admit(t, s, at("2001:db8::1", 0), nil)
	leave()
	for i := range uint32(2 * remembered) {
		if leave, err := s.Admit(numbered(i, 0)); err == nil {
			leave()
		}
	}
	admit(t, s, at("2001:db8::1", 0), nil)
	admit(t, s, at("2001:db8::1", 0), ErrTooMany)
	other()
	admit(t, s, at("2001:db8::1", 0), nil)
}

// Who owes something is remembered longer than who doesn't.
func TestWhoOwesNothingGivesWayFirst(t *testing.T) {
	s := sources(Limits{Rate: 1, Burst: 2})
	sh := &s.shards[0]
	for i := uint32(0); len(sh.sources) < remembered/shards; i++ {
		_, _ = s.Admit(numbered(i, 0))
	}
	for k := sh.idle.next; k != &sh.idle; k = k.next {
		k.deficit = 1
	}
	oldest, next := sh.idle.next, sh.idle.next.next
	oldest.deficit = 2

	const later = time.Second // enough for one visit, not for two
	if got := sh.forgettable(1, start.Add(later)); got != next {
		t.Errorf("%s gives way, want %s, which is idle longest of those who owe nothing", got.prefix, next.prefix)
	}
	for k := oldest; k != &sh.idle; k = k.next {
		k.deficit = 2
	}
	if got := sh.forgettable(1, start.Add(later)); got != oldest {
		t.Errorf("%s gives way, want %s, which is idle longest", got.prefix, oldest.prefix)
	}
}

// All but one have connections open, and that one owes something.
func TestTheOnlyIdleSourceGivesWay(t *testing.T) {
	s := sources(Limits{Connections: 1, Rate: 1e-6, Burst: 2})
	sh := &s.shards[0]
	for i := uint32(0); len(sh.sources) < remembered/shards; i++ {
		_, _ = s.Admit(numbered(i, 0))
	}
	for _, idle := range sh.sources {
		idle.leave()
		if got := sh.forgettable(1e-6, start); got != idle {
			t.Errorf("%s gives way, want %s", got.prefix, idle.prefix)
		}
		break
	}
}

// Who keeps coming is not forgotten, and so not forgiven, before those who came once.
func TestWhoCameLastGivesWayLast(t *testing.T) {
	s := sources(Limits{Rate: 1e-6, Burst: 2})
	admit(t, s, at("2001:db8::1", 0), nil)
	for i := range uint32(remembered / 2) {
		_, _ = s.Admit(numbered(i, 0))
	}
	admit(t, s, at("2001:db8::1", 0), nil)
	for i := range uint32(remembered / 4 * 3) { // the oldest quarter of all gives way
		_, _ = s.Admit(numbered(remembered+i, 0))
	}
	admit(t, s, at("2001:db8::1", 0), ErrTooFast)
}

func TestManyAtOnce(t *testing.T) {
	s := sources(Limits{Connections: 3})
	var open [4]atomic.Int32
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for i := range uint32(20_000) {
				who := i % 4
				leave, err := s.Admit(numbered(who, 0))
				if err != nil {
					continue
				}
				if n := open[who].Add(1); n > 3 {
					t.Errorf("%d connections at once, want at most 3", n)
				}
				runtime.Gosched()
				open[who].Add(-1)
				leave()
			}
		})
	}
	all.Go(func() {
		for range 1000 {
			s.Update(Limits{Connections: 3, Rate: 1e6, Burst: 1e6})
			runtime.Gosched()
			s.Update(Limits{Connections: 3})
		}
	})
	all.Wait()
	for i := range uint32(4) {
		for range 3 {
			admit(t, s, numbered(i, 0), nil)
		}
	}
}

// naive remembers everything, and counts anew each time.
type naive struct {
	limits  Limits
	open    map[netip.Prefix]int
	deficit map[netip.Prefix]float64
	last    map[netip.Prefix]time.Duration
}

func (n *naive) admit(p netip.Prefix, now time.Duration) error {
	n.deficit[p] = max(0, n.deficit[p]-n.limits.Rate*(now-n.last[p]).Seconds())
	n.last[p] = now
	burst := float64(n.limits.Burst)
	if burst == 0 {
		burst = max(1, n.limits.Rate)
	}
	if n.limits.Connections > 0 && n.open[p] >= n.limits.Connections {
		return ErrTooMany
	}
	if n.limits.Rate > 0 {
		if n.deficit[p]+1 > burst {
			return ErrTooFast
		}
		n.deficit[p]++
	}
	return nil
}

// FuzzSources plays visits against one who never forgets.
func FuzzSources(f *testing.F) {
	f.Add(uint8(2), uint8(1), uint8(3), []byte("\x00\x01\x00\x01\x82\x00\x01\x40"))
	f.Add(uint8(0), uint8(5), uint8(0), []byte("\x00\x00\x00\x00\x00\x00\x00\xff\x00\x01\x40\x00"))
	f.Fuzz(func(t *testing.T, connections, rate, burst uint8, steps []byte) {
		limits := Limits{Connections: int(connections % 8), Rate: float64(rate % 8), Burst: int(burst % 8)}
		if limits.Connections == 0 && limits.Rate == 0 {
			return
		}
		s := sources(limits)
		n := naive{limits, map[netip.Prefix]int{}, map[netip.Prefix]float64{}, map[netip.Prefix]time.Duration{}}
		leaves := make(map[netip.Prefix][]func())
		now := time.Duration(0)
		for _, step := range steps {
			who := numbered(uint32(step%4), 0)
			prefix := limits.source(who.Remote.Addr())
			now += time.Duration(step>>2&15) * time.Second / 8
			if step&0x80 != 0 {
				if open := leaves[prefix]; len(open) > 0 {
					open[0]()
					leaves[prefix] = open[1:]
					n.open[prefix]--
				}
				continue
			}
			if step == 0x7f {
				limits.Burst, n.limits.Burst = limits.Burst+1, n.limits.Burst+1
				s.Update(limits)
			}
			want := n.admit(prefix, now)
			who.Arrived = start.Add(now)
			if leave := admit(t, s, who, want); leave != nil {
				leaves[prefix] = append(leaves[prefix], leave)
				n.open[prefix]++
			}
		}
	})
}

func BenchmarkAdmit(b *testing.B) {
	rate := Limits{Rate: 1e6, Burst: 1e6}
	both := Limits{Rate: 1e6, Burst: 1e6, Connections: 1000}
	for _, c := range []struct {
		name    string
		limits  Limits
		sources uint32
	}{
		{"rate of one source", rate, 1},
		{"rate of 10000 sources", rate, 10_000},
		{"rate and connections of one source", both, 1},
		{"rate and connections of 10000 sources", both, 10_000},
		{"rate and connections of 10000000 sources", both, 10_000_000},
	} {
		b.Run(c.name, func(b *testing.B) {
			s := sources(c.limits)
			b.ReportAllocs()
			var first atomic.Uint32
			b.RunParallel(func(pb *testing.PB) {
				for i := first.Add(1 << 20); pb.Next(); i++ {
					leave, _ := s.Admit(numbered(i%c.sources, time.Duration(i)))
					if leave != nil {
						leave()
					}
				}
			})
		})
	}
}

// BenchmarkXTimeRate is the usual way: one map under one lock, and a Limiter each.
func BenchmarkXTimeRate(b *testing.B) {
	for name, different := range map[string]uint32{"one source": 1, "10000 sources": 10_000} {
		b.Run(name, func(b *testing.B) {
			var mu sync.Mutex
			limiters := make(map[netip.Addr]*rate.Limiter)
			b.ReportAllocs()
			var first atomic.Uint32
			b.RunParallel(func(pb *testing.PB) {
				for i := first.Add(1 << 20); pb.Next(); i++ {
					p := numbered(i%different, time.Duration(i))
					mu.Lock()
					l := limiters[p.Remote.Addr()]
					if l == nil {
						l = rate.NewLimiter(1e6, 1e6)
						limiters[p.Remote.Addr()] = l
					}
					mu.Unlock()
					l.AllowN(p.Arrived, 1)
				}
			})
		})
	}
}
