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
	errCut  = errors.New("server shuts down")
	errExit = errors.New("greeter ended its goroutine")
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

// concernsOneClient reports whether accept failed because of one client, which has gone already. Linux
// reports pending network errors of the new socket from accept (accept(2)).
func concernsOneClient(err error) bool {
	return isAny(err,
		syscall.ECONNABORTED, syscall.EINTR, syscall.EPROTO, syscall.ENETDOWN, syscall.ENOPROTOOPT,
		syscall.EHOSTDOWN, syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.EPERM, syscall.ETIMEDOUT)
}

func outOfDescriptors(err error) bool { return isAny(err, syscall.EMFILE, syscall.ENFILE) }

func outOfMemory(err error) bool { return isAny(err, syscall.ENOBUFS, syscall.ENOMEM) }

func isAny(err error, targets ...error) bool {
	return slices.ContainsFunc(targets, func(target error) bool { return errors.Is(err, target) })
}
