//go:build !linux

package service

import (
	"context"
	"errors"
	"net"
	"time"
)

// Away from Linux, each lingering connection has a goroutine of its own, and Alive
// nudges the accept loops.

// A poll is not there.
type poll struct{}

func socketOf(net.Conn) descriptor { return nil }

func newPoll() (*poll, error) { return nil, errors.ErrUnsupported }

func (*poll) add(*lingerer) bool { return false }
func (*poll) forget(*lingerer)   {}
func (*poll) wakeBy(time.Time)   {}
func (*poll) close()             {}

func (*reaper) reap(*poll)  {}
func (*reaper) sweep() bool { return false }

// answers can't be told apart from a client's connection here.
func (*acceptor) answers(context.Context) bool { return false }
