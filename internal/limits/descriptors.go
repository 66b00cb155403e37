package limits

import "golang.org/x/sys/unix"

// ReservedDescriptors is what greetd needs apart from its clients.
const ReservedDescriptors = 64

// maxTable is how many descriptors the table is made for at most.
const maxTable = 1 << 16

// GrowDescriptorTable makes the kernel's table of our descriptors large enough for that many
// connections (0: no limit), so that it need not grow when they come. It doubles each
// time, and a process with threads then waits until no CPU can be reading the old one
// (synchronize_rcu in expand_fdtable): 10 ms and more, in the middle of an accept, and eight
// times until there are 10,000. A slot takes 8 bytes of the kernel's memory.
func GrowDescriptorTable(connections int) {
	wanted := Descriptors()
	if connections > 0 {
		wanted = min(wanted, uint64(connections)+ReservedDescriptors)
	}
	event, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return // it grows later, then
	}
	defer unix.Close(event)
	if highest, err := unix.FcntlInt(uintptr(event), unix.F_DUPFD_CLOEXEC, int(min(wanted, maxTable))-1); err == nil {
		_ = unix.Close(highest)
	}
}

// Descriptors is the soft limit of open files; 0 if it is unknown.
func Descriptors() uint64 {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return limit.Cur
}
