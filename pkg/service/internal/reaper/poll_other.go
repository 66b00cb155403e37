//go:build !linux

package reaper

import (
	"errors"
	"net"
	"time"
)

// A poll is not there: each connection has a goroutine of its own.
type poll struct{}

func newPoll() (*poll, error) { return nil, errors.ErrUnsupported }

func (*poll) add(*Conn) bool                { return false }
func (*poll) forget(*Conn)                  {}
func (*poll) len() int                      { return 0 }
func (*poll) wakeBy(time.Time)              {}
func (*poll) setWake(time.Time)             {}
func (*poll) wait() (event bool, err error) { return false, errors.ErrUnsupported }
func (*poll) ready() (n int, more bool)     { return 0, false }
func (*poll) conns(int) []*Conn             { return nil }
func (*poll) close()                        {}

func socketOf(net.Conn) socket { return nil }

// HasUnread reports false.
func HasUnread(net.Conn) bool { return false }
