//go:build unix

package drill

import (
	"math"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// spareDescriptors are those that clients leave to steps and to the rest of the process.
const spareDescriptors = 32

// Inflight returns how many clients, of those wanted, may be under way at once without exhausting the file descriptors
// of this process: a client may have two, while it tries two addresses.
func Inflight(wanted int) int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return wanted
	}
	return min(wanted, max(1, (int(min(limit.Cur, math.MaxInt32))-spareDescriptors)/2))
}

// separate puts the command into a process group of its own, unless there is a terminal: in a group of its own, it could
// not ask for a password there.
func separate(cmd *exec.Cmd) {
	if terminal, err := os.Open("/dev/tty"); err == nil {
		_ = terminal.Close()
		return
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
}

func interrupt(cmd *exec.Cmd) error { return syscall.Kill(processes(cmd), syscall.SIGINT) }

// killGroup kills what the command has left behind in its process group.
func killGroup(cmd *exec.Cmd) {
	if pid := processes(cmd); pid < 0 {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

// processes is the process of the command, or its process group, for kill(2).
func processes(cmd *exec.Cmd) int {
	if cmd.SysProcAttr != nil {
		return -cmd.Process.Pid
	}
	return cmd.Process.Pid
}
