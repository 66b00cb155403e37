package systemd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"
)

// bindAll listens on each address of config's host, which is usually one. A host name may have
// several; those that another of configs has as numbers are left to it, and those that this
// machine does not have are reported, unless it has none of them.
func bindAll(ctx context.Context, config ListenConfig, configs []ListenConfig, report func(error)) ([]openSocket, error) {
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
			for _, socket := range bound {
				_ = socket.Remove()
			}
			return nil, err
		}
		socket.Address = config.Address
		bound = append(bound, socket)
	}
	if len(bound) == 0 {
		return nil, errors.Join(missing...)
	}
	for _, err := range missing {
		report(fmt.Errorf("listener %s: %w", config.Name, err))
	}
	return bound, nil
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
	for _, ipv4 := range []bool{true, false} {
		for _, ip := range found {
			ip = ip.Unmap()
			one := net.JoinHostPort(ip.String(), port)
			hasOwn := slices.ContainsFunc(configs, func(other ListenConfig) bool { return sameAddress(other.Address, one) })
			if ip.Is4() == ipv4 && !hasOwn && !slices.Contains(addresses, one) {
				addresses = append(addresses, one)
			}
		}
	}
	if len(addresses) == 0 {
		return []string{address}
	}
	return addresses
}

// isHostName reports whether address has a host name, which may have several addresses.
func isHostName(address string) bool {
	host, _, err := net.SplitHostPort(address)
	_, notIP := netip.ParseAddr(host)
	return err == nil && host != "" && notIP != nil
}
