package service

import (
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"syscall"
)

// ErrClosed is what Serve returns after Shutdown or Close.
var ErrClosed = errors.New("service: server closed")

var (
	errCut     = errors.New("server shuts down")
	errGaveWay = errors.New("the server is full, and the client had not finished its handshake")
	errExit    = errors.New("greeter ended its goroutine")
)

// classify returns the outcome of a visit that ended because of err, an error of the connection. For
// an unknown error it returns other.
func classify(err error, other Outcome) Outcome {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return TimedOut
	case isAny(err,
		io.EOF, io.ErrUnexpectedEOF, io.ErrClosedPipe, net.ErrClosed,
		syscall.ECONNRESET, syscall.EPIPE, syscall.ENOTCONN, syscall.ECONNABORTED,
		syscall.ETIMEDOUT, syscall.EHOSTUNREACH, syscall.ENETUNREACH):
		return HungUp
	}
	return other
}

// AcceptPasses reports whether err, returned by a listener's Accept, is temporary, so that the caller
// should call Accept again: it concerns only one client, or the system is short of descriptors or
// memory. Serve uses it; it is exported for the accept loops of other servers.
func AcceptPasses(err error) bool {
	return concernsOneClient(err) || outOfDescriptors(err) || outOfMemory(err)
}

// errNoNetwork is ENONET, an error of accept(2) that other systems than Linux do not have.
const errNoNetwork = syscall.Errno(64)

// concernsOneClient reports whether accept failed because of one client, which has gone already. Linux
// reports pending network errors of the new socket from accept, and EPERM where a firewall forbids the
// connection (accept(2)).
func concernsOneClient(err error) bool {
	return isAny(err,
		syscall.ECONNABORTED, syscall.EINTR, syscall.EPROTO, syscall.ENETDOWN, syscall.ENOPROTOOPT,
		syscall.EHOSTDOWN, errNoNetwork, syscall.EHOSTUNREACH, syscall.EOPNOTSUPP, syscall.ENETUNREACH,
		syscall.EPERM, syscall.ETIMEDOUT)
}

func outOfDescriptors(err error) bool { return isAny(err, syscall.EMFILE, syscall.ENFILE) }

// outOfMemory includes ENOSPC: epoll_ctl(2) returns it if the user may not watch more sockets.
func outOfMemory(err error) bool { return isAny(err, syscall.ENOBUFS, syscall.ENOMEM, syscall.ENOSPC) }

func isAny(err error, targets ...error) bool {
	return slices.ContainsFunc(targets, func(target error) bool { return errors.Is(err, target) })
}
