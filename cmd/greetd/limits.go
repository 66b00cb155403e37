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

// takeCPUs makes Go run on one CPU where it would run on two, unless clients shake hands in
// TLS: docs/decisions/one-of-two-cpus.md has why. With more CPUs, or one, Go has those of its
// control group, and GOMAXPROCS overrules all of this.
func takeCPUs(listeners []service.Listener) {
	takeAllCPUs()
	if _, told := os.LookupEnv("GOMAXPROCS"); !told && runtime.GOMAXPROCS(0) == 2 && !shakeHands(listeners) {
		runtime.GOMAXPROCS(1)
	}
}

// takeAllCPUs is for work that clients must not wait for.
func takeAllCPUs() {
	if _, told := os.LookupEnv("GOMAXPROCS"); !told {
		runtime.SetDefaultGOMAXPROCS()
	}
}

// shakeHands reports whether one of the listeners has TLS.
func shakeHands(listeners []service.Listener) bool {
	return slices.ContainsFunc(listeners, func(l service.Listener) bool { return l.TLS != nil })
}

// cpus is on how many Go runs, for the log.
func cpus() logging.Field { return logging.F("cpus", runtime.GOMAXPROCS(0)) }

// heedLimits makes Go mind the memory that its control group has, unless GOMEMLIMIT says
// something else. It returns the limit for the log, if there is one.
func (d *daemon) heedLimits() (fields []logging.Field) {
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
	if limit != math.MaxInt64 {
		fields = append(fields, logging.F("memory_limit", limit))
	}
	return fields
}

// fit lowers limits.connections to those that the control group has memory for. More of
// them at once, and the kernel ends greetd, and everybody's visit with it.
func (d *daemon) fit(c *config.Config, m manners) {
	if d.memory == 0 {
		return
	}
	each := int64(memoryOfVisit)
	if shakeHands(m.listeners) {
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

// mostDescriptors is how many the table is made for at most.
const mostDescriptors = 1 << 16

// growDescriptorTable makes the kernel's table of our descriptors large enough for so many
// connections (0: no limit), so that it need not grow when a crowd comes. It doubles each
// time, and a process with threads then waits until no CPU can be reading the old one
// (synchronize_rcu in expand_fdtable): 10 ms and more, in the middle of an accept, and eight
// times until there are 10,000. A slot takes 8 bytes of the kernel's memory.
func growDescriptorTable(connections int) {
	wanted := descriptorLimit()
	if connections > 0 {
		wanted = min(wanted, uint64(connections)+descriptorsBeside)
	}
	event, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return // it grows later, then
	}
	defer unix.Close(event)
	if highest, err := unix.FcntlInt(uintptr(event), unix.F_DUPFD_CLOEXEC, int(min(wanted, mostDescriptors))-1); err == nil {
		_ = unix.Close(highest)
	}
}

func descriptorLimit() uint64 {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return limit.Cur
}
