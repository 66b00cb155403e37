package doctor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// sock_diag(7): one request for each family, and a message for each socket. Of
// /proc/net/tcp there is no maximum of the backlog.
const (
	diagRequestLen = 16 + 56 // nlmsghdr, inet_diag_req_v2
	diagMessageLen = 72      // inet_diag_msg
	tcpListen      = 10      // TCP_LISTEN of the kernel
)

// listening returns the TCP sockets that listen in this network namespace.
func listening() ([]Backlog, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 2}); err != nil {
		return nil, os.NewSyscallError("setsockopt", err)
	}
	all := []Backlog{}
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		if err := unix.Sendto(fd, diagRequest(family), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
			return nil, os.NewSyscallError("sendto", err)
		}
		if all, err = receive(fd, all); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func diagRequest(family uint8) []byte {
	r := make([]byte, 0, diagRequestLen)
	r = binary.NativeEndian.AppendUint32(r, diagRequestLen)
	r = binary.NativeEndian.AppendUint16(r, unix.SOCK_DIAG_BY_FAMILY)
	r = binary.NativeEndian.AppendUint16(r, unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	r = append(r, make([]byte, 8)...) // sequence, port
	r = append(r, family, unix.IPPROTO_TCP, 0, 0)
	r = binary.NativeEndian.AppendUint32(r, 1<<tcpListen)
	return r[:diagRequestLen] // and no filter by address
}

// receive reads one dump to its end.
func receive(fd int, all []Backlog) ([]Backlog, error) {
	buffer := make([]byte, 64<<10)
	for {
		n, _, err := unix.Recvfrom(fd, buffer, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, os.NewSyscallError("recvfrom", err)
		}
		messages, err := syscall.ParseNetlinkMessage(buffer[:n])
		if err != nil {
			return nil, fmt.Errorf("read sock_diag: %w", err)
		}
		for _, m := range messages {
			switch m.Header.Type {
			case unix.NLMSG_DONE:
				return all, nil
			case unix.NLMSG_ERROR:
				return nil, errors.New("read sock_diag: the kernel refuses")
			}
			if b, ok := parseDiag(m.Data); ok {
				all = append(all, b)
			}
		}
	}
}

// parseDiag reads one inet_diag_msg: family, state, timer, retransmits, then source and
// destination port, source and destination address, …, and at 56 and 60 the length of
// the queue and its maximum.
func parseDiag(m []byte) (Backlog, bool) {
	if len(m) < diagMessageLen || m[1] != tcpListen {
		return Backlog{}, false
	}
	ip := netip.AddrFrom16([16]byte(m[8:24]))
	if m[0] == unix.AF_INET {
		ip = netip.AddrFrom4([4]byte(m[8:12]))
	}
	return Backlog{
		Address: netip.AddrPortFrom(ip, binary.BigEndian.Uint16(m[4:6])),
		Max:     int(binary.NativeEndian.Uint32(m[60:64])),
	}, true
}
