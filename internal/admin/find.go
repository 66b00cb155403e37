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
	const listening = 1 << 16 // __SO_ACCEPTCON
	own, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return nil
	}
	proc, err := procfs.NewDefaultFS()
	if err != nil {
		return nil
	}
	processes, _ := proc.AllProcs()
	files := make(map[string]bool) // of other processes of this program; of a socket, the name is "socket:[INODE]"
	for _, process := range processes {
		exe, err := process.Executable()
		if err != nil || process.PID == os.Getpid() || strings.TrimSuffix(exe, " (deleted)") != strings.TrimSuffix(own, " (deleted)") {
			continue
		}
		targets, _ := process.FileDescriptorTargets() // none if the process has just ended
		for _, target := range targets {
			files[target] = true
		}
	}
	sockets, err := proc.NetUNIX()
	if err != nil {
		return nil
	}
	var addresses []string
	for _, socket := range sockets.Rows {
		if uint64(socket.Flags)&listening == 0 || !files[fmt.Sprintf("socket:[%d]", socket.Inode)] || !filepath.IsAbs(socket.Path) {
			continue
		}
		if info, err := os.Lstat(socket.Path); err == nil && info.Mode().Perm() == 0o600 {
			addresses = append(addresses, "unix:"+socket.Path)
		}
	}
	slices.Sort(addresses)
	return addresses
}
