package access

import (
	"cmp"
	"hash/maphash"
	"math"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"greetd.example/pkg/service"
)

// Limits are those of each source: of all addresses that have their first bits in
// common. The zero value limits nothing.
type Limits struct {
	Connections int     // at any one time; 0: no limit
	Rate        float64 // visits a second in the long run; 0: no limit
	Burst       int     // visits at once, after a pause; 0: Rate rounded up
	IPv4Prefix  int     // bits that make an IPv4 source; 0: 32
	IPv6Prefix  int     // bits that make an IPv6 source; 0: 64
}

func (l Limits) burst() float64 {
	if l.Burst > 0 {
		return float64(l.Burst)
	}
	return math.Ceil(l.Rate)
}

// source is what ip belongs to.
func (l Limits) source(ip netip.Addr) netip.Prefix {
	ip = ip.Unmap()
	bits := cmp.Or(l.IPv6Prefix, 64)
	if ip.Is4() {
		bits = cmp.Or(l.IPv4Prefix, 32)
	}
	p, err := ip.Prefix(bits)
	if err != nil { // only if bits are out of range
		return netip.PrefixFrom(ip, ip.BitLen())
	}
	return p
}

const (
	shards = 64 // each with its own lock: two visits seldom meet

	// remembered is how many sources without a connection are remembered. Each takes
	// about 230 bytes: 30 MB if it comes to that.
	remembered = 128 << 10
)

// Sources limits each source. The zero value limits nobody until Update.
//
// Its memory is bounded, however many sources there are: it remembers those that have
// connections open, whose number limits.connections and the descriptors bound, and
// 131,072 others. When these are more, one that owes nothing gives way, since to
// forget it changes nothing: its bucket is full, as that of a stranger. If the longest
// idle all owe something, the one that is idle longest gives way, and is forgiven the
// little that it had still to wait. A client that has that many networks
// gains nothing that the limits could have kept from them. A source with an open
// connection never gives way.
type Sources struct {
	limits atomic.Pointer[Limits]
	seed   maphash.Seed // nobody outside can choose sources that meet in one shard
	once   sync.Once
	shards [shards]shard
}

// A shard has the sources of one part of all addresses.
type shard struct {
	mu      sync.Mutex
	sources map[netip.Prefix]*source
	idle    source // the ring of those without connections; from next on, the longest idle first
}

// A source is what is known of one.
type source struct {
	shard  *shard
	prefix netip.Prefix
	open   int    // connections
	leave  func() // made once, so that a visit costs no memory

	prev, next *source // in shard.idle; nil while connections are open

	// deficit is how many tokens the bucket lacks at the time of last. It is stored
	// instead of their number, so that an unknown source has none, and limits can change.
	deficit float64
	last    time.Time
}

// Update applies limits to visits that come from now on. What is known of each source
// stays, unless the prefixes change, with which the sources do. Connections that came
// while Connections was 0 do not count.
func (s *Sources) Update(l Limits) {
	s.once.Do(func() { s.seed = maphash.MakeSeed() })
	s.limits.Store(&l)
}

// Admit counts a visit, or returns a [*Refusal] with ErrTooMany or ErrTooFast. It goes
// by the visitor's Arrived and has no clock of its own. leave, if not nil, must be
// called once, when the connection is closed. Who has no address, because they come
// through a unix socket, is always admitted.
func (s *Sources) Admit(p service.Peer) (leave func(), err error) {
	l := s.limits.Load()
	if l == nil || l.Connections == 0 && l.Rate == 0 || !p.Remote.IsValid() {
		return nil, nil
	}
	prefix := l.source(p.Remote.Addr())
	shard := &s.shards[maphash.Comparable(s.seed, prefix)%shards]

	shard.mu.Lock()
	defer shard.mu.Unlock()
	known := shard.find(prefix, l.Rate, p.Arrived)
	known.refill(l.Rate, p.Arrived)
	switch {
	case l.Connections > 0 && known.open >= l.Connections:
		return nil, &Refusal{Source: prefix, Err: ErrTooMany}
	case l.Rate > 0 && known.deficit+1 > l.burst():
		return nil, &Refusal{Source: prefix, Err: ErrTooFast}
	}
	if l.Rate > 0 {
		known.deficit++
	}
	if l.Connections == 0 {
		return nil, nil
	}
	if known.open == 0 {
		known.unlink()
	}
	known.open++
	return known.leave, nil
}

// left is leave.
func (k *source) left() {
	k.shard.mu.Lock()
	defer k.shard.mu.Unlock()
	k.open--
	if k.open == 0 {
		k.shard.push(k)
	}
}

// refill adds the tokens of the time since last. Visits may come a little out of
// order, as PROXY headers take their time.
func (k *source) refill(rate float64, now time.Time) {
	passed := now.Sub(k.last)
	if passed <= 0 {
		return
	}
	k.deficit = max(0, k.deficit-rate*passed.Seconds())
	k.last = now
}

// find is what is known of the source with the prefix. An idle one becomes the one
// that is idle shortest.
func (s *shard) find(prefix netip.Prefix, rate float64, now time.Time) *source {
	known := s.sources[prefix]
	switch {
	case known == nil:
		known = s.stranger(rate, now)
		known.prefix = prefix
		s.sources[prefix] = known
	case known.open > 0:
		return known
	default:
		known.unlink()
	}
	s.push(known)
	return known
}

// stranger is a source without a past and a prefix.
func (s *shard) stranger(rate float64, now time.Time) *source {
	if s.sources == nil {
		s.sources = make(map[netip.Prefix]*source)
		s.idle.prev, s.idle.next = &s.idle, &s.idle
	}
	var spare *source
	for len(s.sources) >= remembered/shards && s.idle.next != &s.idle {
		spare = s.forgettable(rate, now)
		spare.unlink()
		delete(s.sources, spare.prefix)
	}
	if spare == nil {
		spare = &source{shard: s}
		spare.leave = spare.left
	}
	spare.deficit, spare.last = 0, now
	return spare
}

// forgettable is the idle source to give way. There is one.
func (s *shard) forgettable(rate float64, now time.Time) *source {
	const asked = 8 // of those that are idle longest: it is nearly always the first
	k := s.idle.next
	for range asked {
		if k == &s.idle {
			break
		}
		if k.refill(rate, now); k.deficit == 0 {
			return k
		}
		k = k.next
	}
	return s.idle.next
}

func (s *shard) push(k *source) {
	k.prev, k.next = s.idle.prev, &s.idle
	k.prev.next, k.next.prev = k, k
}

func (k *source) unlink() {
	k.prev.next, k.next.prev = k.next, k.prev
	k.prev, k.next = nil, nil
}
