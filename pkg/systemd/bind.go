package systemd

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/user"
	"strconv"
)

const defaultMode = 0o666

var (
	errNoAddress = errors.New("an address is host:port, [v6]:port or unix:/path")
	errRelative  = errors.New("the path of a unix socket must be absolute")
)

// networkOf returns tcp4 for 0.0.0.0 and tcp6 for [::], and else tcp. With tcp, the net package would bind
// all addresses of both families for these two.
func networkOf(address string) string {
	host, _, _ := net.SplitHostPort(address)
	switch ip, err := netip.ParseAddr(host); {
	case err != nil || !ip.IsUnspecified():
		return "tcp"
	case ip.Is4():
		return "tcp4"
	default:
		return "tcp6"
	}
}

// setPermissions gives the file of a unix socket its mode and group.
func setPermissions(path string, config ListenConfig) error {
	if config.Group != "" {
		number, err := groupNumber(config.Group)
		if err != nil {
			return err
		}
		if err := lchgrp(path, number); err != nil {
			return &groupError{path, config.Group, err}
		}
	}
	return os.Chmod(path, cmp.Or(config.Mode, defaultMode))
}

// A groupError is the error if the group of a socket's file could not be set.
type groupError struct {
	path, group string
	err         error
}

func (e *groupError) Error() string {
	return fmt.Sprintf("give %s to group %s: %v: set SupplementaryGroups=%s, PrivateUsers=no and SystemCallFilter=@chown in the unit, "+
		"or use a .socket unit with SocketGroup=%s", e.path, e.group, e.err, e.group, e.group)
}

func (e *groupError) Unwrap() error { return e.err }

func groupNumber(group string) (int, error) {
	if number, err := strconv.Atoi(group); err == nil && number >= 0 {
		return number, nil
	}
	found, err := user.LookupGroup(group)
	if err != nil {
		return 0, fmt.Errorf("there is no group %q: create it, or set Group= of the unit or SupplementaryGroups= to one that exists", group)
	}
	return strconv.Atoi(found.Gid)
}
