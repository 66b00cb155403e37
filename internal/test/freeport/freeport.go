// Package freeport finds TCP ports for tests that have to name one before anything listens there.
package freeport

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
)

// The kernel gives out ports from 32768 up by itself (net.ipv4.ip_local_port_range), to connections and
// to listeners that ask for none: below, nobody takes one meanwhile.
const first, ports, attempts = 20000, 10000, 1000

// Find returns n different ports of 127.0.0.1 that nothing listens on.
func Find(n int) (found []int, err error) {
	var taken error
	for range attempts {
		if len(found) == n {
			return found, nil
		}
		port := first + rand.N(ports)
		ln, err := new(net.ListenConfig).Listen(context.Background(), "tcp", Address(port))
		if err != nil {
			taken = err
			continue
		}
		defer ln.Close() // each is held until all are found, so that they differ
		found = append(found, port)
	}
	return nil, errors.Join(errors.New("no free port for a test"), taken)
}

// Address is where a port is on 127.0.0.1.
func Address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
