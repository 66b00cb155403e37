// Package exit has the exit codes of greetd, as sysexits.h has them where it has one, and
// an error that carries one.
package exit

import "fmt"

// The codes are part of the contract in greetd(8).
const (
	OK       = 0
	Failed   = 1  // while running
	Usage    = 64 // EX_USAGE
	NoDaemon = 69 // EX_UNAVAILABLE
	System   = 71 // EX_OSERR: an address or a descriptor that the system does not give
	Config   = 78 // EX_CONFIG
)

// An Error ends the process with Code.
type Error struct {
	Code int
	Err  error // nil: it is reported already
}

func (e Error) Error() string { return fmt.Sprint(e.Err) }
func (e Error) Unwrap() error { return e.Err }
