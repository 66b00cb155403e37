//go:build linux && !386 && !s390x

package direct

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"unsafe"
)

// The raw system calls. None of them waits if the socket is nonblocking.

const msgMore = 0x8000 // MSG_MORE of sendto(2)

func receive(fd int, b []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall(syscall.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	return int(n), errno
}

func send(fd int, b []byte, flags uintptr) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)),
		flags|syscall.MSG_NOSIGNAL|syscall.MSG_DONTWAIT, 0, 0)
	return int(n), errno
}

func accept(fd uintptr) (conn int, remote netip.AddrPort, errno syscall.Errno) {
	var from syscall.RawSockaddrAny
	size := uint32(unsafe.Sizeof(from))
	n, _, errno := syscall.RawSyscall6(syscall.SYS_ACCEPT4, fd,
		uintptr(unsafe.Pointer(&from)), uintptr(unsafe.Pointer(&size)), syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0, 0)
	if errno != 0 {
		return -1, netip.AddrPort{}, errno
	}
	return int(n), addrPort(&from), 0
}

// stayNonblocking makes the socket nonblocking again if another process that shares it has made it
// blocking: a raw call that waits would delay all goroutines. It is called after accept has waited,
// and after every checkEach connections.
func stayNonblocking(fd uintptr) {
	flags, _, errno := syscall.RawSyscall(syscall.SYS_FCNTL, fd, syscall.F_GETFL, 0)
	if errno == 0 && flags&syscall.O_NONBLOCK == 0 {
		_, _, _ = syscall.RawSyscall(syscall.SYS_FCNTL, fd, syscall.F_SETFL, flags|syscall.O_NONBLOCK)
	}
}

// errNotPolled is the error if the runtime's poller does not accept a socket.
var errNotPolled = errors.New("the kernel has no room to wait for the socket")

// whyNotPolled asks the kernel again why the runtime's poller did not accept the socket.
func whyNotPolled(fd int) error {
	set, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err == nil {
		defer syscall.Close(set)
		err = syscall.EpollCtl(set, syscall.EPOLL_CTL_ADD, fd, &syscall.EpollEvent{Events: syscall.EPOLLIN})
	}
	switch {
	case errors.Is(err, syscall.ENOSPC):
		return fmt.Errorf("%w: epoll_ctl: %w; raise fs.epoll.max_user_watches", errNotPolled, err)
	case err != nil:
		return fmt.Errorf("%w: epoll: %w", errNotPolled, err)
	}
	return errNotPolled
}

// localAddr asks the kernel for the local address. It returns the zero value if that fails.
func localAddr(fd int) netip.AddrPort {
	var at syscall.RawSockaddrAny
	size := uint32(unsafe.Sizeof(at))
	_, _, errno := syscall.RawSyscall(syscall.SYS_GETSOCKNAME, uintptr(fd),
		uintptr(unsafe.Pointer(&at)), uintptr(unsafe.Pointer(&size)))
	if errno != 0 {
		return netip.AddrPort{}
	}
	return addrPort(&at)
}

func closeWrite(fd int) syscall.Errno {
	_, _, errno := syscall.RawSyscall(syscall.SYS_SHUTDOWN, uintptr(fd), syscall.SHUT_WR, 0)
	return errno
}

func closeDescriptor(fd int) { _, _, _ = syscall.RawSyscall(syscall.SYS_CLOSE, uintptr(fd), 0, 0) }

// addrPort returns the zero value for an address that is not IPv4 or IPv6.
func addrPort(sa *syscall.RawSockaddrAny) netip.AddrPort {
	switch sa.Addr.Family {
	case syscall.AF_INET:
		v4 := (*syscall.RawSockaddrInet4)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom4(v4.Addr), fromNetwork(v4.Port))
	case syscall.AF_INET6:
		v6 := (*syscall.RawSockaddrInet6)(unsafe.Pointer(sa))
		ip := netip.AddrFrom16(v6.Addr).Unmap()
		if v6.Scope_id != 0 && ip.Is6() {
			ip = ip.WithZone(zone(v6.Scope_id))
		}
		return netip.AddrPortFrom(ip, fromNetwork(v6.Port))
	}
	return netip.AddrPort{}
}

// fromNetwork returns a number that the kernel wrote in network byte order.
func fromNetwork(n uint16) uint16 {
	b := (*[2]byte)(unsafe.Pointer(&n))
	return uint16(b[0])<<8 | uint16(b[1])
}

// zone returns the zone of an IPv6 address: the name of its interface.
func zone(scope uint32) string {
	if i, err := net.InterfaceByIndex(int(scope)); err == nil {
		return i.Name
	}
	return strconv.FormatUint(uint64(scope), 10)
}
