// Package access decides which clients are served: by lists of networks, and by limits for each
// source. What it knows lives in memory, of which there is a bound.
package access

import (
	"errors"
	"net/netip"

	"github.com/gaissmai/bart"

	"greetd.example/pkg/service"
)

// Why somebody is refused. They come inside of a [*Refusal].
var (
	ErrDenied  = errors.New("denied by access.allow and access.deny")
	ErrTooMany = errors.New("has too many connections (limits.per_source.connections)")
	ErrTooFast = errors.New("comes too often (limits.per_source.rate)")
)

// A Refusal is why a visitor is not served. It wraps ErrDenied, ErrTooMany or
// ErrTooFast.
type Refusal struct {
	Source netip.Prefix // the visitor's address alone, or the source that is over its limit
	Denied netip.Prefix // the entry of access.deny that has the address; the zero value if there is none
	Err    error
}

// Error implements error.
func (r *Refusal) Error() string {
	source := r.Source.String()
	if r.Source.IsSingleIP() {
		source = r.Source.Addr().String()
	}
	switch {
	case !errors.Is(r.Err, ErrDenied):
		return source + " " + r.Err.Error()
	case r.Denied.IsValid():
		return source + " denied by " + r.Denied.String() + " in access.deny"
	default:
		return source + " denied: not in access.allow"
	}
}

// Reason is what [service.Visit] has of r.
func (r *Refusal) Reason() service.Reason {
	if errors.Is(r.Err, ErrDenied) {
		return service.ReasonDenied
	}
	return service.ReasonOverLimit
}

// Unwrap returns Err.
func (r *Refusal) Unwrap() error { return r.Err }

// LimitedSource returns the source that is over its limit; ok is false for a visitor
// which the lists deny.
func (r *Refusal) LimitedSource() (source netip.Prefix, ok bool) {
	return r.Source, !errors.Is(r.Err, ErrDenied)
}

// A List says which addresses are allowed. It does not change, and may be asked from many
// goroutines at once. nil allows everybody.
type List struct {
	allow *bart.Lite // nil: everybody
	deny  bart.Lite
}

// New makes a List. Whom deny names is denied; of the others everybody is allowed,
// or only those in allow, if it has any. IPv4 in IPv6 form
// (::ffff:192.0.2.0/120) means IPv4, in both lists and in visitors. A prefix of which
// IsValid is false names nobody.
func New(allow, deny []netip.Prefix) *List {
	l := &List{}
	insert(&l.deny, deny)
	if len(allow) > 0 {
		l.allow = new(bart.Lite)
		insert(l.allow, allow)
	}
	return l
}

func insert(table *bart.Lite, prefixes []netip.Prefix) {
	for _, p := range prefixes {
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		if p.IsValid() {
			table.Insert(p.Masked())
		}
	}
}

// Check returns a [*Refusal] with ErrDenied if the visitor is not allowed. Who has no
// address, because they come through a unix socket, always is.
func (l *List) Check(p service.Peer) error {
	if l == nil || !p.Remote.IsValid() {
		return nil
	}
	ip := p.Remote.Addr().Unmap().WithZone("")
	self := netip.PrefixFrom(ip, ip.BitLen())
	if l.deny.Contains(ip) {
		denied, _ := l.deny.LookupPrefixLPM(self)
		return &Refusal{Source: self, Denied: denied, Err: ErrDenied}
	}
	if l.allow != nil && !l.allow.Contains(ip) {
		return &Refusal{Source: self, Err: ErrDenied}
	}
	return nil
}
