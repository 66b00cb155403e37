// Package access decides which clients are served, by lists of networks and by limits for each source. It
// keeps its state in memory, and this memory is bounded.
package access

import (
	"errors"
	"net/netip"

	"github.com/gaissmai/bart"

	"greetd.example/pkg/service"
)

// The reasons why a client is refused. A [*Refusal] wraps them.
var (
	ErrDenied  = errors.New("denied by access.allow and access.deny")
	ErrTooMany = errors.New("has too many connections (limits.per_source.connections)")
	ErrTooFast = errors.New("comes too often (limits.per_source.rate)")
)

// A Refusal is the error for a client that is not served. It wraps ErrDenied, ErrTooMany or ErrTooFast.
type Refusal struct {
	Source netip.Prefix // the address of the client, or the source that is over its limit
	Denied netip.Prefix // the entry of access.deny that contains the address; the zero value if there is none
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

// Reason returns the reason for [service.Visit].
func (r *Refusal) Reason() service.Reason {
	if errors.Is(r.Err, ErrDenied) {
		return service.ReasonDenied
	}
	return service.ReasonOverLimit
}

// Unwrap returns Err.
func (r *Refusal) Unwrap() error { return r.Err }

// LimitedSource returns the source that is over its limit. ok is false for a client that the lists deny.
func (r *Refusal) LimitedSource() (source netip.Prefix, ok bool) {
	return r.Source, !errors.Is(r.Err, ErrDenied)
}

// A List says which addresses are allowed. It does not change, and many goroutines may use it at once. A nil List
// allows all clients.
type List struct {
	allow *bart.Lite // nil: all addresses
	deny  bart.Lite
}

// New returns a List. An address in deny is denied. If allow is empty, all other addresses are allowed, else only
// those in allow. An IPv4 prefix or address in IPv6 form (::ffff:192.0.2.0/120) is treated as IPv4. Prefixes that
// are not valid are ignored.
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

// Check returns a [*Refusal] with ErrDenied if the client is not allowed. A client without an address, on a unix
// socket, is always allowed.
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
