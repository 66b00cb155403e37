package main

import (
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"slices"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"golang.org/x/sys/unix"

	"greetd.example/internal/config"
	"greetd.example/internal/logging"
	"greetd.example/pkg/service"
)

// goShare is how much of the control group's memory Go may take before it collects
// garbage in earnest, as GOMEMLIMIT=160MiB beside MemoryMax=256M in greetd.service. The
// rest is for what the kernel keeps for sockets, which counts there too.
const goShare = 0.625

// What clients take of the control group's memory while they keep a visit going, the
// kernel's share included: measured, 7.3 KiB in a PROXY header, and 36 KiB in a TLS
// handshake. memoryBeside is for greetd without a client, and a greetprobe in its group.
const (
	memoryOfVisit    = 8 << 10
	memoryOfTLSVisit = 40 << 10
	memoryBeside     = 24 << 20
	leastRoom        = 64
)

// heedLimits makes Go mind the memory that its control group has, unless GOMEMLIMIT says
// something else; the group's CPUs it minds by itself. It returns both for the log.
func (d *daemon) heedLimits() []logging.Field {
	fields := []logging.Field{logging.F("cpus", runtime.GOMAXPROCS(0))}
	limit := debug.SetMemoryLimit(-1)
	if _, told := os.LookupEnv("GOMEMLIMIT"); !told {
		group, err := memlimit.FromCgroup()
		switch {
		case err == nil:
			d.memory = int64(min(group, math.MaxInt64))
			limit = int64(float64(d.memory) * goShare)
			debug.SetMemoryLimit(limit)
		case !errors.Is(err, memlimit.ErrNoLimit):
			d.log.Event(logging.ConfigWarning, fmt.Sprintf("greetd minds no limit of its memory: %v", err))
		}
	}
	if limit == math.MaxInt64 {
		return fields
	}
	return append(fields, logging.F("memory_limit", limit))
}

// fit lowers limits.connections to those that the control group has memory for. More of
// them at once, and the kernel ends greetd, and everybody's visit with it.
func (d *daemon) fit(c *config.Config, m manners) {
	if d.memory == 0 {
		return
	}
	each := int64(memoryOfVisit)
	if slices.ContainsFunc(m.listeners, func(l service.Listener) bool { return l.TLS != nil }) {
		each = memoryOfTLSVisit
	}
	asked, room := c.Limits.Connections, int(max((d.memory-memoryBeside)/each, leastRoom))
	if asked > 0 && asked <= room {
		return
	}
	c.Limits.Connections, m.rules.MaxConns = room, room
	d.log.Event(logging.ConfigWarning, fmt.Sprintf(
		"limits.connections is %d, but the %d MiB of memory that the control group has are enough for %d: no more are taken at once; allow more memory, or lower limits.connections",
		asked, d.memory>>20, room), logging.F("key", "limits.connections"))
}

// descriptorsBeside is what greetd needs apart from its clients.
const descriptorsBeside = 64

func descriptorLimit() uint64 {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return limit.Cur
}
