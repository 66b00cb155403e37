// Package limits adapts the process to the memory, CPUs and descriptors of its machine.
package limits

import (
	"errors"
	"math"
	"os"
	"runtime/debug"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// goShare is the share of the memory of the control group that Go may use before it collects garbage at full speed.
// It is the same as GOMEMLIMIT=160MiB with MemoryMax=256M in greetd.service. The rest is for the memory of sockets in
// the kernel, which also counts for the control group.
const goShare = 0.625

// The memory that a client needs in the control group during a visit, including the memory in the kernel. Measured
// values are 7.3 KiB for a client in its PROXY header, and 36 KiB for one in a TLS handshake. baseMemory is for greetd
// without clients, and for a greetprobe in the same control group.
const (
	memoryOfVisit    = 8 << 10
	memoryOfTLSVisit = 40 << 10
	baseMemory       = 24 << 20
	minConnections   = 64
)

// ApplyMemory sets the memory limit of Go to a share of the limit of the control group, unless GOMEMLIMIT is set. group
// is the limit of the control group in bytes; it is 0 if there is none, or if GOMEMLIMIT is set. limit is the limit of
// Go; it is [math.MaxInt64] if there is none.
func ApplyMemory() (group, limit int64, err error) {
	limit = debug.SetMemoryLimit(-1)
	if _, set := os.LookupEnv("GOMEMLIMIT"); set {
		return 0, limit, nil
	}
	bytes, err := memlimit.FromCgroup()
	if errors.Is(err, memlimit.ErrNoLimit) {
		return 0, limit, nil
	}
	if err != nil {
		return 0, limit, err
	}
	group = int64(min(bytes, math.MaxInt64))
	limit = int64(float64(group) * goShare)
	debug.SetMemoryLimit(limit)
	return group, limit, nil
}

// Connections returns the number of connections for which the memory limit group of a control group is enough. With more
// connections at once, the kernel could kill the process.
func Connections(group int64, tls bool) int {
	each := int64(memoryOfVisit)
	if tls {
		each = memoryOfTLSVisit
	}
	return int(max((group-baseMemory)/each, minConnections))
}
