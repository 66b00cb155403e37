package limits

import "golang.org/x/sys/unix"

// ReservedDescriptors is the number of descriptors that greetd needs in addition to those of its clients.
const ReservedDescriptors = 64

// maxTable is the maximum number of descriptors for which GrowDescriptorTable makes the table large enough.
const maxTable = 1 << 16

// GrowDescriptorTable makes the table of our descriptors in the kernel large enough for this number of connections
// (0: no limit), so that the table need not grow when the connections arrive. The table doubles each time. A process
// with threads then waits until no CPU can be reading the old table (synchronize_rcu in expand_fdtable). This takes
// 10 ms or more, during an accept, and happens eight times until there are 10,000 connections. An entry of the table
// needs 8 bytes of kernel memory.
func GrowDescriptorTable(connections int) {
	wanted := Descriptors()
	if connections > 0 {
		wanted = min(wanted, uint64(connections)+ReservedDescriptors)
	}
	event, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return // the table then grows later
	}
	defer unix.Close(event)
	if highest, err := unix.FcntlInt(uintptr(event), unix.F_DUPFD_CLOEXEC, int(min(wanted, maxTable))-1); err == nil {
		_ = unix.Close(highest)
	}
}

// Descriptors returns the soft limit of open files; 0 if it is unknown.
func Descriptors() uint64 {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return limit.Cur
}
