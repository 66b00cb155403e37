// Package hangup makes a program ignore SIGHUP from its start. If it is imported, this signal does not end the process
// while the other packages are initialized, which takes some 10 ms. The program must first of all call [signal.Ignore]
// for SIGHUP, since Go does not know that the kernel already ignores the signal. After that, [signal.Notify] has its
// usual effect.
//
// The package uses the system call, and imports only syscall and unsafe. It can't use os/signal, which is initialized
// after most other packages (Go sorts packages by their imports, then by name).
package hangup
