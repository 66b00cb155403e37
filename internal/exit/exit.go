// Package exit has the exit codes of greetd, and an error with an exit code. The codes are those of sysexits.h where it
// has one for the purpose.
package exit

import "fmt"

// The exit codes. They are documented in greetd(8), and must not change.
const (
	OK       = 0
	Failed   = 1  // while running
	Usage    = 64 // EX_USAGE
	NoDaemon = 69 // EX_UNAVAILABLE
	System   = 71 // EX_OSERR: the system refuses an address or a descriptor
	Config   = 78 // EX_CONFIG
)

// An Error ends the process with Code.
type Error struct {
	Code int
	Err  error // nil: the error has already been reported
}

func (e Error) Error() string { return fmt.Sprint(e.Err) }
func (e Error) Unwrap() error { return e.Err }
