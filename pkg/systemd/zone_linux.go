package systemd

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"golang.org/x/sys/unix"
)

// numbered returns address with the number of the interface in place of its name, as in
// [fe80::1%2]:80. The net package asks netlink for the number. If the sandbox of the unit does not
// allow this (RestrictAddressFamilies=), the net package reports the address as an invalid
// argument.
func numbered(address string) (string, error) {
	host, port, _ := net.SplitHostPort(address)
	ip, _ := netip.ParseAddr(host)
	if _, err := strconv.Atoi(ip.Zone()); ip.Zone() == "" || err == nil {
		return address, nil
	}
	number, err := InterfaceNumber(ip.Zone())
	if err != nil {
		return "", err
	}
	return net.JoinHostPort(ip.WithZone(strconv.Itoa(number)).String(), port), nil
}

// InterfaceNumber returns the number of the network interface with this name (if_nametoindex(3)).
// It also works in the sandbox of a unit without AF_NETLINK.
func InterfaceNumber(name string) (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("look for the interface %s: %w", name, err)
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq(name)
	if err == nil {
		err = unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, request)
	}
	if err != nil {
		return 0, fmt.Errorf("this machine does not have the interface %s: ip link lists them", name)
	}
	return int(request.Uint32()), nil
}
