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

// MX returns the mail servers of domain with this port, the most preferred first, and each server
// once. A domain without an MX record is its own mail server (RFC 5321, section 5.1). The error
// joins all problems, each in one sentence with the domain. MX also returns the targets of the
// valid records if there is an error.
func (p *Probe) MX(ctx context.Context, domain string, port uint16) ([]Target, error) {
	if err := p.ready(ctx); err != nil {
		return nil, err
	}
	if port == 0 {
		return nil, errors.New("the port is 0; use one from 1 to 65535, such as 25")
	}
	found, err := lookupRecords(ctx, p, domain, (*net.Resolver).LookupMX)
	return mailServers(domain, port, found, err)
}

// mailServers returns the result of MX for an answer of DNS.
func mailServers(domain string, port uint16, found []*net.MX, err error) ([]Target, error) {
	if dns, ok := errors.AsType[*net.DNSError](err); ok && dns.IsNotFound {
		return []Target{{Host: domain, Port: port}}, nil
	}
	names := func(mx *net.MX) bool { return mx.Host != "." }
	if len(found) > 0 && !slices.ContainsFunc(found, names) { // RFC 7505
		return nil, fmt.Errorf("%s accepts no mail: its MX record says so", domain)
	}
	slices.SortFunc(found, func(a, b *net.MX) int {
		return cmp.Or(cmp.Compare(a.Pref, b.Pref), cmp.Compare(a.Host, b.Host))
	})
	records := recordsOf{kind: "MX", name: domain}
	for _, mx := range found {
		records.add(mx.Host, port)
	}
	return records.targets, errors.Join(append(records.errs, lookupError("the mail servers of "+domain, err))...)
}

// SRV returns the servers of a service, such as _imaps._tcp.example.org, in the order of priority
// and weight, and each server once. The error joins all problems, each in one sentence with the
// service. SRV also returns the targets of the valid records if there is an error.
func (p *Probe) SRV(ctx context.Context, service string) ([]Target, error) {
	if err := p.ready(ctx); err != nil {
		return nil, err
	}
	found, err := lookupRecords(ctx, p, service, func(r *net.Resolver, ctx context.Context, name string) ([]*net.SRV, error) {
		_, found, err := r.LookupSRV(ctx, "", "", name)
		return found, err
	})
	return serviceServers(service, found, err)
}

// serviceServers returns the result of SRV for an answer of DNS.
func serviceServers(service string, found []*net.SRV, err error) ([]Target, error) {
	if dns, ok := errors.AsType[*net.DNSError](err); ok && dns.IsNotFound {
		err = errors.New("there is no SRV record of that name")
	}
	names := func(srv *net.SRV) bool { return srv.Target != "." }
	if len(found) > 0 && !slices.ContainsFunc(found, names) { // RFC 2782
		return nil, fmt.Errorf("%s is not available at this domain: its SRV record says so", service)
	}
	slices.SortFunc(found, func(a, b *net.SRV) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(b.Weight, a.Weight), cmp.Compare(a.Target, b.Target), cmp.Compare(a.Port, b.Port))
	})
	records := recordsOf{kind: "SRV", name: service}
	for _, srv := range found {
		records.add(srv.Target, srv.Port)
	}
	return records.targets, errors.Join(append(records.errs, lookupError("the servers of "+service, err))...)
}

// lookupError adds to err what was looked up. It returns nil if err is nil.
func lookupError(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("resolve %s: %w", what, reason(err))
}

type recordsOf struct {
	kind, name string
	targets    []Target
	errs       []error
}

// add adds the target of a record, unless it is there already, or the error if it cannot be probed.
func (r *recordsOf) add(host string, port uint16) {
	target := Target{Host: strings.TrimSuffix(host, "."), Port: port}
	_, err := target.name()
	switch {
	case host == ".": // ignored if there are other records: RFC 7505 and RFC 2782 allow it only alone
		return
	case err != nil:
	case port == 0:
		err = fmt.Errorf("%s has port 0", target.Host)
	}
	if err != nil {
		r.errs = append(r.errs, fmt.Errorf("resolve %s: a bad %s record: %w", r.name, r.kind, err))
		return
	}
	if !slices.Contains(r.targets, target) {
		r.targets = append(r.targets, target)
	}
}

// lookupRecords looks up the records of name, within the Total of p.
func lookupRecords[T any](ctx context.Context, p *Probe, name string, ask func(*net.Resolver, context.Context, string) (T, error)) (none T, err error) {
	ascii, err := Target{Host: name}.name()
	if err != nil {
		return none, err
	}
	ctx, cancel := p.within(ctx, time.Now())
	defer cancel()
	found, err := withPlain(ctx, func(ctx context.Context, r *net.Resolver) (T, error) { return ask(r, ctx, ascii) })
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		err = errors.New("no answer " + spent(ctx))
	}
	return found, err
}
