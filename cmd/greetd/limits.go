package main

import (
	"fmt"
	"math"
	"runtime"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"golang.org/x/sys/unix"

	"greetd.example/internal/logging"
)

// goShare is how much of the control group's memory Go may take before it collects
// garbage in earnest, as GOMEMLIMIT=160MiB beside MemoryMax=256M in greetd.service. The
// rest is for what the kernel keeps for sockets, which counts there too.
const goShare = 0.625

// heedLimits makes Go mind the memory that its control group has, unless GOMEMLIMIT says
// something else; the group's CPUs it minds by itself. It returns both for the log.
func heedLimits(log *logging.Log) []logging.Field {
	fields := []logging.Field{logging.F("cpus", runtime.GOMAXPROCS(0))}
	limit, err := memlimit.Set(memlimit.WithRatio(goShare))
	if err != nil {
		log.Event(logging.ConfigWarning, fmt.Sprintf("greetd minds no limit of its memory: %v", err))
	}
	if limit < math.MaxInt64 {
		fields = append(fields, logging.F("memory_limit", limit))
	}
	return fields
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
