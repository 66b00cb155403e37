// Package stdout makes writes to a closed standard output fail.
package stdout

// FailIfClosed makes writes to standard output fail with EBADF if it was closed when the process started (>&- in a
// shell). In every other program they do; but the Go runtime opens /dev/null in its place, so that the output would be
// lost without an error, and afterwards it looks like a /dev/null that the caller wants. Only the first instructions
// of the process can see the difference. So FailIfClosed has an effect only in programs that begin with greetd_start of
// this package instead of the entry point of the Go runtime, for which the Makefile sets the linker's flag -E. It must
// be called first of all.
func FailIfClosed() {
	if wasClosed() {
		refuseWrites()
	}
}
