package doctor

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// filtering reports whether systemd's address filters for a unit are in the kernel; nil
// if that can't be seen. Where systemd counts bytes for it, they are: but a
// daemon-reload makes systemd forget the counts, and not the filters.
func filtering(u Unit) *bool {
	if _, err := strconv.ParseInt(u.Properties["IPIngressBytes"], 10, 64); err == nil { // else in words, or 1<<64 - 1
		return new(true)
	}
	group := u.Properties["ControlGroup"]
	if group == "" {
		return nil
	}
	yes, err := attached(group)
	switch {
	case err == nil:
		return &yes
	case os.Geteuid() == 0 && (errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS)):
		return new(false) // what root may not do here, systemd may not
	}
	return nil
}

// attached reports whether a program of bpf(2) looks at what comes in for a control
// group, which is how systemd filters and counts. The error is EPERM or ENOSYS where
// bpf is not for this caller.
func attached(group string) (bool, error) {
	dir, err := openGroup(group)
	if err != nil {
		return false, err
	}
	defer dir.Close()
	attr := struct { // of BPF_PROG_QUERY
		target, attachType, queryFlags, attachFlags uint32
		ids                                         uint64
		count, _                                    uint32
	}{target: uint32(dir.Fd()), attachType: unix.BPF_CGROUP_INET_INGRESS}
	_, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_QUERY, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	if errno != 0 {
		return false, os.NewSyscallError("bpf", errno)
	}
	return attr.count > 0, nil
}

// openGroup opens a control group of version 2, in the unified or the hybrid layout.
func openGroup(group string) (*os.File, error) {
	dir, err := os.Open(filepath.Join("/sys/fs/cgroup/unified", group))
	if err != nil {
		dir, err = os.Open(filepath.Join("/sys/fs/cgroup", group))
	}
	return dir, err
}
