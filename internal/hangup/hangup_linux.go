package hangup

import (
	"syscall"
	"unsafe"
)

var _ = ignore()

// ignore sets the action of SIGHUP to SIG_IGN (rt_sigaction(2)).
func ignore() syscall.Errno {
	const (
		ignored = 1 // SIG_IGN
		setSize = 8 // of sigset_t, in bytes
	)
	action := [8]uintptr{ignored} // the handler comes first; flags, restorer and mask are zero
	_, _, errno := syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(syscall.SIGHUP), uintptr(unsafe.Pointer(&action)), 0, setSize, 0, 0)
	return errno
}
