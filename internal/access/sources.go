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

// Limits are the limits of each source. A source is all addresses with the same first bits. The zero value has no
// limits.
type Limits struct {
	Connections int     // maximum number at once; 0: no limit
	Rate        float64 // average number of visits a second; 0: no limit
	Burst       int     // number of visits at once after a pause; 0: Rate rounded up
	IPv4Prefix  int     // number of bits that identify an IPv4 source; 0: 32
	IPv6Prefix  int     // number of bits that identify an IPv6 source; 0: 64
}

func (l Limits) burst() float64 {
	if l.Burst > 0 {
		return float64(l.Burst)
	}
	return math.Ceil(l.Rate)
}

// source returns the source of ip.
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
	shards = 64 // each has its own lock, so that two visits seldom wait for each other

	// remembered is the maximum number of sources without a connection that are kept. Each needs about 230
	// bytes, all together 30 MB.
	remembered = 128 << 10
)

// Sources limits each source. The zero value has no limits until Update is called.
//
// Its memory is bounded for any number of sources. It keeps the sources with open connections, whose number is
// bounded by limits.connections and by the descriptors, and up to 131,072 others. If there are more, it removes a
// source with a full bucket. This changes nothing, since an unknown source has a full bucket, too. If none of the
// longest idle sources has a full bucket, it removes the one that has been idle for longest, which then need not
// wait any more. A client with addresses in that many networks gains nothing by this: the limits could not have
// stopped it anyway. A source with an open connection is never removed.
type Sources struct {
	limits atomic.Pointer[Limits]
	seed   maphash.Seed // random, so that an attacker can't choose sources that are all in one shard
	once   sync.Once
	shards [shards]shard
}

// A shard has the sources of one part of all addresses.
type shard struct {
	mu      sync.Mutex
	sources map[netip.Prefix]*source
	idle    source // head of the ring of sources without connections; idle.next is the longest idle one
}

// A source has the state of one source.
type source struct {
	shard  *shard
	prefix netip.Prefix
	open   int    // number of connections
	leave  func() // the method left; stored once, so that a visit does not allocate

	prev, next *source // in shard.idle; nil while connections are open

	// deficit is the number of tokens that were missing in the bucket at the time last. It is stored instead of
	// the number of tokens, so that it is 0 for an unknown source, and so that the limits can change.
	deficit float64
	last    time.Time
}

// Update applies the limits l to later visits. The state of the sources is kept, unless the prefix lengths change,
// since there are other sources then. Connections that were accepted while Connections was 0 do not count.
func (s *Sources) Update(l Limits) {
	s.once.Do(func() { s.seed = maphash.MakeSeed() })
	s.limits.Store(&l)
}

// Admit counts a visit, or returns a [*Refusal] with ErrTooMany or ErrTooFast. It uses the time p.Arrived and no
// clock. If leave is not nil, the caller must call it once, when the connection is closed. A client without an
// address, on a unix socket, is always admitted.
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

// left implements leave for k: it counts the end of one connection.
func (k *source) left() {
	k.shard.mu.Lock()
	defer k.shard.mu.Unlock()
	k.open--
	if k.open == 0 {
		k.shard.push(k)
	}
}

// refill adds the tokens for the time since last. now can be a little before last, since a PROXY header can delay a
// visit that arrived earlier.
func (k *source) refill(rate float64, now time.Time) {
	passed := now.Sub(k.last)
	if passed <= 0 {
		return
	}
	k.deficit = max(0, k.deficit-rate*passed.Seconds())
	k.last = now
}

// find returns the source with the prefix, and adds it if it is unknown. A source without connections moves to the
// end of the ring, as the one that has been idle for the shortest time.
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

// stranger returns a new source without a prefix. If there are too many sources, it removes idle ones.
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

// forgettable returns the idle source to remove. There must be one.
func (s *shard) forgettable(rate float64, now time.Time) *source {
	const asked = 8 // maximum number of sources to look at, the longest idle first; the first is nearly always right
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
