package limits

import (
	"os"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
)

// ReleaseStartup unmaps the pages of the program's code that are mapped so far: most of them only the start needed, for
// initializers, or the kernel mapped them around a page that was needed. They are more than a third of the resident memory
// of a greetd that has just started. A page that is needed again is mapped again from the page cache, with its neighbours.
// Others, the kernel can reclaim early, because no process maps them. Data is left alone, also read-only data: it differs
// from the file after the relocation of a position-independent program. If /proc cannot be read, ReleaseStartup does
// nothing.
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
		if m.Pathname == program && m.Perms.Execute && !m.Perms.Write {
			_, _, _ = unix.Syscall(unix.SYS_MADVISE, m.StartAddr, m.EndAddr-m.StartAddr, unix.MADV_DONTNEED)
		}
	}
}
