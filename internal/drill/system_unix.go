//go:build unix

package drill

import (
	"math"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// spareDescriptors is the number of descriptors that clients leave for steps and for the rest of the process.
const spareDescriptors = 32

// Inflight returns the number of clients, at most wanted, that can be in progress at once without exhausting the file
// descriptors of this process. A client can have two descriptors while it tries two addresses.
func Inflight(wanted int) int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return wanted
	}
	return min(wanted, max(1, (int(min(limit.Cur, math.MaxInt32))-spareDescriptors)/2))
}

// separate puts the command into its own process group, unless there is a terminal: in its own group, the command could
// not ask for a password on the terminal.
func separate(cmd *exec.Cmd) {
	if terminal, err := os.Open("/dev/tty"); err == nil {
		_ = terminal.Close()
		return
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
}

func interrupt(cmd *exec.Cmd) error { return syscall.Kill(processes(cmd), syscall.SIGINT) }

// killGroup kills the processes that the command has left in its process group.
func killGroup(cmd *exec.Cmd) {
	if pid := processes(cmd); pid < 0 {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

// processes returns the argument for kill(2): the process of the command, or its process group.
func processes(cmd *exec.Cmd) int {
	if cmd.SysProcAttr != nil {
		return -cmd.Process.Pid
	}
	return cmd.Process.Pid
}
