package admin

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/prometheus/procfs"
)

// Find returns the addresses of unix sockets on which other processes of this program listen, and whose
// files have the mode 0600, as [Listen] makes them. For root, /proc has the processes of all users, and
// for other users their own. A socket in the result can have another purpose than admin.
func Find() []string {
	own, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return nil
	}
	processes, err := procfs.AllProcs()
	if err != nil {
		return nil
	}
	inodes := make(map[string]bool)
	for _, process := range processes {
		exe, err := process.Executable()
		if err != nil || process.PID == os.Getpid() || strings.TrimSuffix(exe, " (deleted)") != strings.TrimSuffix(own, " (deleted)") {
			continue
		}
		targets, _ := process.FileDescriptorTargets() // none if the process has just ended
		for _, target := range targets {
			inodes[target] = true
		}
	}
	if len(inodes) == 0 {
		return nil
	}
	return listeningOn(inodes)
}

// listeningOn returns the addresses of the sockets that are listening unix sockets with the file mode
// 0600. The sockets are named as in /proc/PID/fd: "socket:[INODE]".
func listeningOn(sockets map[string]bool) []string {
	const listening = 1 << 16 // __SO_ACCEPTCON
	proc, err := procfs.NewFS(procfs.DefaultMountPoint)
	if err != nil {
		return nil
	}
	all, err := proc.NetUNIX()
	if err != nil {
		return nil
	}
	var addresses []string
	for _, socket := range all.Rows {
		if uint64(socket.Flags)&listening == 0 || !sockets[fmt.Sprintf("socket:[%d]", socket.Inode)] || !filepath.IsAbs(socket.Path) {
			continue
		}
		if info, err := os.Lstat(socket.Path); err == nil && info.Mode().Perm() == 0o600 {
			addresses = append(addresses, "unix:"+socket.Path)
		}
	}
	slices.Sort(addresses)
	return addresses
}
