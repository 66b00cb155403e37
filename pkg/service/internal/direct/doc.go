// Package direct accepts TCP connections with the fewest possible system calls on Linux.
//
// [Listen] takes over a [net.TCPListener] and returns a listener on the same socket. Its connections
// omit what package net does for each connection: registration in the runtime's poller, a query for the
// address of the other end, and socket options. The savings, the largest first:
//
//   - [Conn.WriteNow] sends with MSG_MORE. So the bytes wait for the FIN of the half-close, and both are
//     sent in one segment: the client is woken once and not twice.
//   - System calls that cannot block are raw. During other system calls, the scheduler may take the
//     processor away, and the runtime's monitor thread checks for this every 20 us. This costs a tenth
//     of the total time.
//   - Accept waits in the runtime's poller, but on our own descriptor. The accept of package net makes
//     five more system calls before the first byte.
//   - A connection enters the poller only when an operation has to wait. A greeting fits into the buffer
//     of an empty socket, so it does not wait.
//
// # What a connection promises
//
// A connection keeps every promise of [net.Conn]. Read and Write wait, also at the same time, until they
// are done, their deadline passes ([os.ErrDeadlineExceeded]) or Close interrupts them
// ([net.ErrClosed]). After the deadline they fail at once, and work again when a new deadline is set.
// Errors are a [*net.OpError] with both addresses, as those of a [net.TCPConn]. TCP_NODELAY is set, and
// keep-alive is inherited from the listening socket.
//
// It adds CloseWrite, SetLinger and SyscallConn, which a [net.TCPConn] has too, and four methods
// that never wait, whatever the deadlines are, and never allocate, unless they fail:
//
//   - Ends returns both addresses.
//   - WriteNow writes as much as is possible without waiting.
//   - Discard reads input that has arrived, and discards it.
//   - Control calls a function with the descriptor.
//
// # Who closes
//
// The caller of Accept must close each connection. Unlike a connection of package net, one that is no
// longer referenced stays open: the garbage collector does not close it. Listen closes the listener
// that it takes over. Closing the listener that it returns closes the socket, and does not affect the
// connections.
//
// All methods, including Close, may be called at once from many goroutines. A descriptor is never used
// after it was closed, when the kernel may have reused its number. For this, all code that uses the
// number holds the connection's lock, as Close does, or uses an [os.File], which counts its users.
// After Close each method returns net.ErrClosed, or an error that matches it; so does a second Close.
// Ends, LocalAddr and RemoteAddr return the addresses that were known when the connection was closed.
//
// On systems other than Linux, and on 386 and s390x, Listen returns its argument.
package direct
