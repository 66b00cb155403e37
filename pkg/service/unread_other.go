//go:build !linux

package service

import "net"

// hasUnread reports false: it is not implemented for this system.
func hasUnread(net.Conn) bool { return false }
