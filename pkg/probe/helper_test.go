package probe_test

import (
	"net"
	"net/netip"
	"strconv"
	"testing"

	"greetd.example/internal/test/freeport"
	"greetd.example/pkg/probe"
)

type netConn = net.Conn

func parse(tb testing.TB, s string) probe.Target {
	tb.Helper()
	target, err := probe.ParseTarget(s)
	if err != nil {
		tb.Fatal(err)
	}
	return target
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// closedPort returns an address on which nobody listens.
func closedPort(tb testing.TB) string {
	tb.Helper()
	ports, err := freeport.Find(1)
	if err != nil {
		tb.Fatal(err)
	}
	return freeport.Address(ports[0])
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
