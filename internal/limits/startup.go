package limits

import (
	"os"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
)

// ReleaseStartup unmaps the pages of the program's file that are mapped so far: most of them only the start needed, for
// initializers and tables of types, or the kernel mapped them around a page that was needed. They are five sixths of the
// resident memory of a greetd that has just started. A page that is needed again is mapped again from the page cache,
// with its neighbours. Others, the kernel can reclaim early, because no process maps them. If /proc cannot be read,
// ReleaseStartup does nothing.
func ReleaseStartup() {
	program, err := os.Executable()
	if err != nil {
		return
	}
	self, err := procfs.Self()
	if err != nil {
		return
	}
	mapped, err := self.ProcMaps()
	if err != nil {
		return
	}
	for _, m := range mapped {
		if m.Pathname == program && !m.Perms.Write { // a writable page can differ from the file
			_, _, _ = unix.Syscall(unix.SYS_MADVISE, m.StartAddr, m.EndAddr-m.StartAddr, unix.MADV_DONTNEED)
		}
	}
}
