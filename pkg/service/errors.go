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

// classify returns the outcome of a visit that err from the connection has ended; it is other where err
// means nothing known.
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

// AcceptPasses reports whether err of a listener's Accept passes, so that accepting is to be tried
// again: it concerns one client, or the system is short of descriptors or memory. It is for accept
// loops of other servers; Serve applies it.
func AcceptPasses(err error) bool {
	return concernsOneClient(err) || outOfDescriptors(err) || outOfMemory(err)
}

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

// outOfMemory has ENOSPC too: it says that the user may not wait for more sockets (epoll_ctl(2)).
func outOfMemory(err error) bool { return isAny(err, syscall.ENOBUFS, syscall.ENOMEM, syscall.ENOSPC) }

func isAny(err error, targets ...error) bool {
	return slices.ContainsFunc(targets, func(target error) bool { return errors.Is(err, target) })
}
