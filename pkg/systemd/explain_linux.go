package systemd

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// explain replaces the net package's error about address by what the kernel said, and
// adds the remedy.
func explain(err error, address string) error {
	if ungrouped := (*groupError)(nil); errors.As(err, &ungrouped) {
		return err
	}
	if op := new(net.OpError); errors.As(err, &op) {
		err = op.Err
	}
	if wrong := new(net.AddrError); errors.As(err, &wrong) {
		return fmt.Errorf("%s: %w", wrong.Err, errNoAddress)
	}
	if unknown := (*net.DNSError)(nil); errors.As(err, &unknown) {
		return fmt.Errorf("%w: correct the name %s, or write its address", err, unknown.Name)
	}
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return err
	}
	remedy := remedyTCP(errno, address)
	if path, isUnix := strings.CutPrefix(address, unixPrefix); isUnix {
		remedy = remedyUnix(errno, path)
	}
	if remedy == "" {
		return err
	}
	return fmt.Errorf("%w: %s", errno, remedy)
}

const forbidden = "a policy forbids it: see SocketBindDeny= of the unit, and the audit log"

func remedyTCP(errno syscall.Errno, address string) string {
	host, port, _ := net.SplitHostPort(address)
	switch errno {
	case unix.EADDRINUSE:
		return fmt.Sprintf("stop the process that holds it (ss -ltnp 'sport = :%s' names it), or choose another port", port)
	case unix.EADDRNOTAVAIL:
		remedy := host + " is not an address of this machine: correct it, or let " + socketUnit() + " bind it with FreeBind=yes, "
		if strings.Contains(host, ":") {
			return remedy + "or set sysctl net.ipv6.ip_nonlocal_bind=1 (is IPv6 off, by net.ipv6.conf.all.disable_ipv6?)"
		}
		return remedy + "or set sysctl net.ipv4.ip_nonlocal_bind=1"
	case unix.EACCES:
		if n, err := strconv.Atoi(port); err == nil && n >= 1024 {
			return forbidden
		}
		if Unit() == "" {
			return fmt.Sprintf("port %s is privileged: choose a port from 1024 up (in a container, publish it as %s: -p %s:10000), "+
				"or allow it with CAP_NET_BIND_SERVICE or sysctl net.ipv4.ip_unprivileged_port_start=%s", port, port, port, port)
		}
		return fmt.Sprintf("port %s is privileged: let %s bind it, or choose a port from 1024 up", port, socketUnit())
	case unix.EPERM:
		return forbidden
	case unix.EAFNOSUPPORT:
		return "IPv6 is off in this kernel, or RestrictAddressFamilies= of the unit leaves the family out: choose an IPv4 address"
	}
	return remedyAny(errno)
}

func remedyUnix(errno syscall.Errno, path string) string {
	dir := filepath.Dir(path)
	switch errno {
	case unix.EADDRINUSE:
		return fmt.Sprintf("stop the process that listens there (ss -xlp 'src = %s' names it), or choose another path", path)
	case unix.ENOENT:
		return fmt.Sprintf("create the directory %s, or let RuntimeDirectory= of the unit create it", dir)
	case unix.ENOTDIR:
		return fmt.Sprintf("part of %s is a file: choose another path", dir)
	case unix.EACCES, unix.EPERM:
		return fmt.Sprintf("this user may not create sockets in %s: choose a path in $RUNTIME_DIRECTORY, or let %s bind it", dir, socketUnit())
	case unix.EROFS:
		return dir + " can't be written (ProtectSystem=strict of the unit): choose a path in $RUNTIME_DIRECTORY"
	}
	return remedyAny(errno)
}

func remedyAny(errno syscall.Errno) string {
	switch errno {
	case unix.EMFILE:
		return "the process is out of descriptors: raise LimitNOFILE= of the unit"
	case unix.ENFILE:
		return "the machine is out of descriptors: raise fs.file-max"
	}
	return ""
}
