package probe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"
)

// MX returns the mail servers of domain, the most preferred first, with port. A domain
// without MX record is its own mail server (RFC 5321, section 5.1). The error is one
// sentence that names domain.
func (p *Probe) MX(ctx context.Context, domain string, port uint16) ([]Target, error) {
	found, err := lookupRecords(ctx, p, domain, func(ctx context.Context, r *net.Resolver, name string) ([]*net.MX, error) {
		return r.LookupMX(ctx, name)
	})
	if dns, ok := errors.AsType[*net.DNSError](err); ok && dns.IsNotFound {
		return []Target{{Host: domain, Port: port}}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("resolve the mail servers of %s: %w", domain, reason(err))
	}
	slices.SortFunc(found, func(a, b *net.MX) int {
		return cmp.Or(cmp.Compare(a.Pref, b.Pref), cmp.Compare(a.Host, b.Host))
	})
	var targets []Target
	for _, mx := range found {
		if mx.Host == "." { // RFC 7505
			return nil, fmt.Errorf("%s accepts no mail: its MX record says so", domain)
		}
		targets = append(targets, Target{Host: strings.TrimSuffix(mx.Host, "."), Port: port})
	}
	return checked(targets)
}

// SRV returns the servers of a service, such as _imaps._tcp.example.org, in the order
// of their priority and weight. The error is one sentence that names service.
func (p *Probe) SRV(ctx context.Context, service string) ([]Target, error) {
	found, err := lookupRecords(ctx, p, service, func(ctx context.Context, r *net.Resolver, name string) ([]*net.SRV, error) {
		_, found, err := r.LookupSRV(ctx, "", "", name)
		return found, err
	})
	if err != nil {
		return nil, fmt.Errorf("resolve the servers of %s: %w", service, reason(err))
	}
	slices.SortFunc(found, func(a, b *net.SRV) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(b.Weight, a.Weight), cmp.Compare(a.Target, b.Target), cmp.Compare(a.Port, b.Port))
	})
	var targets []Target
	for _, srv := range found {
		if srv.Target == "." { // RFC 2782
			return nil, fmt.Errorf("%s is not available at this domain: its SRV record says so", service)
		}
		targets = append(targets, Target{Host: strings.TrimSuffix(srv.Target, "."), Port: srv.Port})
	}
	return checked(targets)
}

// lookupRecords asks for records of name within the Total of p.
func lookupRecords[T any](ctx context.Context, p *Probe, name string, ask func(context.Context, *net.Resolver, string) (T, error)) (none T, err error) {
	ascii, err := Target{Host: name}.name()
	if err != nil {
		return none, err
	}
	ctx, cancel := p.within(ctx, time.Now())
	defer cancel()
	return withPlain(ctx, func(ctx context.Context, r *net.Resolver) (T, error) { return ask(ctx, r, ascii) })
}

// checked returns targets, or why one of them can't be probed.
func checked(targets []Target) ([]Target, error) {
	for _, target := range targets {
		if _, err := target.name(); err != nil || target.Port == 0 {
			return nil, cmp.Or(err, fmt.Errorf("%s has no port", target.Host))
		}
	}
	return targets, nil
}
