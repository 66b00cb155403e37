package probe_test

import (
	"net"
	"net/netip"
	"strconv"
	"testing"

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
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
