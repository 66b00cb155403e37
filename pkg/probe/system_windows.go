package probe

import (
	"math"
	"syscall"

	"golang.org/x/sys/windows"
)

// winsock are the errors of Winsock beside the numbers that package syscall made up for
// them, which no call returns.
var winsock = map[syscall.Errno]syscall.Errno{
	windows.WSAEACCES:        syscall.EACCES,
	windows.WSAEADDRINUSE:    syscall.EADDRINUSE,
	windows.WSAEADDRNOTAVAIL: syscall.EADDRNOTAVAIL,
	windows.WSAEAFNOSUPPORT:  syscall.EAFNOSUPPORT,
	windows.WSAECONNABORTED:  syscall.ECONNABORTED,
	windows.WSAECONNREFUSED:  syscall.ECONNREFUSED,
	windows.WSAECONNRESET:    syscall.ECONNRESET,
	windows.WSAEHOSTDOWN:     syscall.EHOSTDOWN,
	windows.WSAEHOSTUNREACH:  syscall.EHOSTUNREACH,
	windows.WSAEINVAL:        syscall.EINVAL,
	windows.WSAEMFILE:        syscall.EMFILE,
	windows.WSAENETDOWN:      syscall.ENETDOWN,
	windows.WSAENETUNREACH:   syscall.ENETUNREACH,
	windows.WSAENOBUFS:       syscall.ENOBUFS,
	windows.WSAETIMEDOUT:     syscall.ETIMEDOUT,
}

// errnoNames has the names of the errors in winsock, as Unix has them.
var errnoNames = map[syscall.Errno]string{
	syscall.EACCES: "EACCES", syscall.EADDRINUSE: "EADDRINUSE", syscall.EADDRNOTAVAIL: "EADDRNOTAVAIL",
	syscall.EAFNOSUPPORT: "EAFNOSUPPORT", syscall.ECONNABORTED: "ECONNABORTED", syscall.ECONNREFUSED: "ECONNREFUSED",
	syscall.ECONNRESET: "ECONNRESET", syscall.EHOSTDOWN: "EHOSTDOWN", syscall.EHOSTUNREACH: "EHOSTUNREACH",
	syscall.EINVAL: "EINVAL", syscall.EMFILE: "EMFILE", syscall.ENETDOWN: "ENETDOWN", syscall.ENETUNREACH: "ENETUNREACH",
	syscall.ENOBUFS: "ENOBUFS", syscall.ETIMEDOUT: "ETIMEDOUT",
}

// errnoName returns the name of an error number, as "ECONNREFUSED"; "" if it has none.
func errnoName(errno syscall.Errno) string { return errnoNames[errno] }

// portable returns errno as the tables of this package have it.
func portable(errno syscall.Errno) syscall.Errno {
	if number, ok := winsock[errno]; ok {
		return number
	}
	return errno
}

// freeDescriptors returns how many sockets this process may open still: Windows has no
// limit that could be asked for.
func freeDescriptors() int { return math.MaxInt32 }

// The range of the numbers that package syscall made up.
const (
	firstErrno syscall.Errno = syscall.APPLICATION_ERROR
	errnos     syscall.Errno = 256
)
