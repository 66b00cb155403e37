// Package limits fits the process to its machine: memory, CPUs and descriptors.
package limits

import (
	"errors"
	"math"
	"os"
	"runtime/debug"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// goShare is how much of the control group's memory Go may take before it collects
// garbage at full speed, as GOMEMLIMIT=160MiB beside MemoryMax=256M in greetd.service. The
// rest is for what the kernel keeps for sockets, which counts there too.
const goShare = 0.625

// What clients take of the control group's memory while they keep a visit going, the
// kernel's share included: measured, 7.3 KiB in a PROXY header, and 36 KiB in a TLS
// handshake. baseMemory is for greetd without a client, and a greetprobe in its group.
const (
	memoryOfVisit    = 8 << 10
	memoryOfTLSVisit = 40 << 10
	baseMemory       = 24 << 20
	minConnections   = 64
)

// ApplyMemory sets Go's memory limit to a share of the control group's, unless GOMEMLIMIT
// is set. group is the control group's limit in bytes, 0 if there is none or GOMEMLIMIT
// is set; limit is Go's, [math.MaxInt64] if there is none.
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

// Connections is for how many connections the memory of a control group with that limit
// is enough. With more of them at once, the kernel would kill the process.
func Connections(group int64, tls bool) int {
	each := int64(memoryOfVisit)
	if tls {
		each = memoryOfTLSVisit
	}
	return int(max((group-baseMemory)/each, minConnections))
}
