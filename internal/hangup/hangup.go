// Package hangup has a program ignore SIGHUP from its first moment. Where it is imported, that
// signal does not end the process while its other packages are initialized, which takes some
// 10 ms. The program must call [signal.Ignore] for SIGHUP first of all, after which
// [signal.Notify] has its usual effect: Go does not know what was asked of the kernel.
//
// It asks the kernel itself, and imports nothing but syscall: os/signal is initialized after
// most others (Go sorts packages by what they import, then by name).
package hangup
