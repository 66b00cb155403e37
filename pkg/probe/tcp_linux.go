package probe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// dialTCP connects to addr, from source if that is valid. The TCP is not nil if the
// kernel reported how far it came, even without a connection.
//
// It does without net.Dialer, which closes a socket that is reset as soon as it is
// connected, and with it what the server said before, and TCP_INFO.
func dialTCP(ctx context.Context, _ string, addr netip.AddrPort, source netip.Addr) (net.Conn, *TCP, error) {
	fd, err := begin(addr, source)
	if err != nil {
		return nil, nil, err
	}
	s := &socket{File: os.NewFile(uintptr(fd), "tcp"), remote: *net.TCPAddrFromAddrPort(addr)}
	err = s.established(ctx)
	info := tcpInfo(s)
	if err != nil {
		_ = s.Close()
		return nil, info, err
	}
	return s, info, nil
}

// begin makes a socket that is being connected. The caller closes it.
func begin(addr netip.AddrPort, source netip.Addr) (int, error) {
	family := unix.AF_INET6
	if addr.Addr().Is4() {
		family = unix.AF_INET
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return 0, os.NewSyscallError("socket", err)
	}
	if err := connect(fd, addr, source); err != nil {
		_ = unix.Close(fd)
		return 0, err
	}
	return fd, nil
}

func connect(fd int, addr netip.AddrPort, source netip.Addr) error {
	// A PROXY header and what follows are two small writes, which mustn't wait for each other.
	if err := unix.SetsockoptInt(fd, unix.SOL_TCP, unix.TCP_NODELAY, 1); err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	for _, a := range []netip.Addr{source, addr.Addr()} {
		if a.Zone() != "" && zone(a.Zone()) == 0 {
			return fmt.Errorf("there is no network interface %q here", a.Zone())
		}
	}
	if source.IsValid() {
		if err := bind(fd, source); err != nil {
			return os.NewSyscallError("bind", err)
		}
	}
	err := unix.Connect(fd, sockaddr(addr))
	if err != nil && !errors.Is(err, unix.EINPROGRESS) && !errors.Is(err, unix.EINTR) {
		return os.NewSyscallError("connect", err)
	}
	return nil
}

func bind(fd int, source netip.Addr) error {
	// Without it, bind(2) takes a port that no other connection can have (ip(7)).
	if err := unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err != nil {
		return err
	}
	return unix.Bind(fd, sockaddr(netip.AddrPortFrom(source.Unmap(), 0)))
}

func sockaddr(addr netip.AddrPort) unix.Sockaddr {
	if addr.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(addr.Port()), Addr: addr.Addr().As16(), ZoneId: zone(addr.Addr().Zone())}
}

// zone returns the index of the interface called name, or numbered so; 0 if there is none.
func zone(name string) uint32 {
	if name == "" {
		return 0
	}
	if ifi, err := net.InterfaceByName(name); err == nil {
		return uint32(ifi.Index)
	}
	n, _ := strconv.ParseUint(name, 10, 32)
	return uint32(n)
}

// A socket is a TCP connection.
type socket struct {
	*os.File
	local, remote net.TCPAddr
	reset         error // why it was reset before the first read; nil if it was not
}

// established waits until s is connected, or will not be, or ctx is done.
func (s *socket) established(ctx context.Context) error {
	raw, err := s.SyscallConn()
	if err != nil {
		return err
	}
	errno := 0
	var waiting func() bool // ends the wait for ctx; nil until there is need to wait
	err = raw.Write(func(fd uintptr) bool {
		ready := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
		if n, err := unix.Poll(ready, 0); n == 0 || err != nil {
			if waiting == nil {
				waiting = context.AfterFunc(ctx, func() { _ = s.SetWriteDeadline(time.Unix(1, 0)) })
			}
			return false
		}
		errno, _ = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		s.local = localAddr(int(fd))
		return true
	})
	if waiting != nil {
		waiting()
	}
	switch connected := unix.Errno(errno); {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return ctx.Err()
	case err != nil:
		return err
	case connected == unix.ECONNRESET:
		s.reset = os.NewSyscallError("read", connected)
	case connected == unix.EPIPE: // it hung up before it was reset: what it said is complete
	case connected != 0:
		return os.NewSyscallError("connect", connected)
	case s.local.Port == s.remote.Port && s.local.IP.Equal(s.remote.IP):
		// The port was free, and the kernel took it for this end: nobody listens.
		return os.NewSyscallError("connect", unix.ECONNREFUSED)
	}
	return nil
}

func localAddr(fd int) net.TCPAddr {
	switch addr, _ := unix.Getsockname(fd); addr := addr.(type) {
	case *unix.SockaddrInet4:
		return net.TCPAddr{IP: addr.Addr[:], Port: addr.Port}
	case *unix.SockaddrInet6:
		local := net.TCPAddr{IP: addr.Addr[:], Port: addr.Port}
		if ifi, err := net.InterfaceByIndex(int(addr.ZoneId)); err == nil {
			local.Zone = ifi.Name
		}
		return local
	default:
		return net.TCPAddr{}
	}
}

// Read implements [net.Conn].
func (s *socket) Read(b []byte) (int, error) {
	n, err := s.File.Read(b)
	if s.reset != nil && errors.Is(err, io.EOF) {
		err = s.reset
	}
	return n, err
}

// LocalAddr implements [net.Conn].
func (s *socket) LocalAddr() net.Addr { return &s.local }

// RemoteAddr implements [net.Conn].
func (s *socket) RemoteAddr() net.Addr { return &s.remote }

// SetLinger is net.TCPConn's.
func (s *socket) SetLinger(seconds int) error {
	return s.control(func(fd int) error {
		return unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1, Linger: int32(seconds)})
	})
}

// control calls f with the descriptor.
func (s *socket) control(f func(fd int) error) error {
	raw, err := s.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) { failed = f(int(fd)) })
	return cmp.Or(err, failed)
}

// tcpInfo asks the kernel about conn (tcp(7)). It returns nil where that can't tell.
func tcpInfo(conn net.Conn) *TCP {
	s, ok := conn.(*socket)
	if !ok {
		return nil
	}
	var info *unix.TCPInfo
	err := s.control(func(fd int) (err error) {
		info, err = unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		return err
	})
	if err != nil {
		return nil
	}
	return &TCP{
		RTT:        time.Duration(info.Rtt) * time.Microsecond,
		SynRetrans: int(max(info.Total_retrans, uint32(info.Retransmits))),
	}
}
