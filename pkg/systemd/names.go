package systemd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"
)

// bindAll listens on each address of config's host, which is usually one, and applies Wrap. A host
// name may have several; those that another of configs has as numbers are left to it, and those that
// this machine does not have are reported, unless it has none of them.
func (s *Service) bindAll(ctx context.Context, config ListenConfig, configs []ListenConfig) ([]openSocket, error) {
	var bound []openSocket
	var missing []error
	for _, address := range addressesOf(ctx, config.Address, configs) {
		one := config
		one.Address = address
		socket, err := bindSocket(ctx, one)
		if err != nil && address != config.Address {
			err = fmt.Errorf("%s: %w", config.Address, err)
		}
		switch {
		case errors.Is(err, syscall.EADDRNOTAVAIL), errors.Is(err, syscall.EAFNOSUPPORT):
			missing = append(missing, err)
			continue
		case err != nil:
			removeAll(bound)
			return nil, err
		}
		socket.Address = config.Address
		bound = append(bound, socket)
	}
	if len(bound) == 0 {
		return nil, errors.Join(missing...)
	}
	for _, err := range missing {
		s.report(fmt.Errorf("listener %s: %w", config.Name, err))
	}
	var err error
	for i := range bound {
		err = errors.Join(err, s.wrap(&bound[i]))
	}
	if err != nil {
		removeAll(bound)
		return nil, err
	}
	return bound, nil
}

func removeAll(sockets []openSocket) {
	for _, socket := range sockets {
		_ = socket.Remove()
	}
}

// addressesOf returns what to bind for address: IPv4 before IPv6 for a host name. It returns
// address itself if that is no host name or cannot be resolved, and if its port is 0, which
// would be another one for each.
func addressesOf(ctx context.Context, address string, configs []ListenConfig) []string {
	host, port, _ := net.SplitHostPort(address)
	if !isHostName(address) || port == "0" {
		return []string{address}
	}
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return []string{address}
	}
	var addresses []string
	slices.SortStableFunc(found, func(a, b netip.Addr) int { return cmp.Compare(a.Unmap().BitLen(), b.Unmap().BitLen()) })
	for _, ip := range found {
		one := net.JoinHostPort(ip.Unmap().String(), port)
		hasOwn := slices.ContainsFunc(configs, func(other ListenConfig) bool { return sameAddress(other.Address, one) })
		if !hasOwn && !slices.Contains(addresses, one) {
			addresses = append(addresses, one)
		}
	}
	if len(addresses) == 0 {
		return []string{address}
	}
	return addresses
}
