// Package terminal opens pseudo-terminals for tests.
package terminal

import (
	"os"
	"testing"

	"github.com/creack/pty"

	"greetd.example/internal/test/debian"
)

// Open opens both ends of a pseudo-terminal, which are closed when the test ends (pts(4)). Neither
// becomes the terminal of this process. Where there are none, the test is skipped, see
// [debian.Lacking].
func Open(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, slave, err := pty.Open()
	if err != nil {
		debian.Lacking(t, "pseudo-terminals: %v", err)
	}
	t.Cleanup(func() { _, _ = master.Close(), slave.Close() })
	return master, slave
}
