// Package direct accepts TCP connections with as few system calls as Linux needs.
//
// [Listen] takes a [net.TCPListener] over and returns a listener on the same socket, whose
// connections skip what net does for each: registration in the runtime's poller, the address of the
// other end, and options. What this saves, in the order of its weight:
//
//   - [Conn.WriteNow] sends with MSG_MORE, so the bytes wait for the FIN of the half-close, and
//     both travel in one segment: the client is woken once and not twice.
//   - System calls that can't block are raw: the scheduler needs no chance to run others meanwhile.
//     Where it has one, it takes the processor away from calls that the kernel interrupts, and a
//     thread watches for that every 20 us, a tenth of all the time.
//   - Accept waits in the runtime's poller, but on a descriptor of our own: net's accept takes five
//     more system calls before the first byte.
//   - A connection enters the poller when something has to wait. A greeting fits into an empty
//     socket, so nothing does.
//
// # What a connection promises
//
// A connection keeps every promise of [net.Conn]: Read and Write wait, also beside each other,
// until they are done, their deadline passes ([os.ErrDeadlineExceeded]) or Close interrupts them
// ([net.ErrClosed]); an expired deadline fails at once, and a new one revives the connection.
// Errors are a [*net.OpError] with both addresses, as those of a [net.TCPConn]. TCP_NODELAY is set,
// and keep-alive is as the listening socket has it.
//
// It adds CloseWrite, SetLinger and SyscallConn, which a [net.TCPConn] has too, and four methods
// that never wait, whatever the deadlines are, and never allocate, unless they fail:
//
//   - Ends returns both addresses.
//   - WriteNow writes as much as goes at once.
//   - Discard reads and throws away what is there.
//   - Control hands out the number of the descriptor.
//
// # Who closes
//
// Whoever accepted a connection closes it. Unlike one of net's, a connection that is forgotten
// stays open: the garbage collector does not close it. Listen closes the listener that it takes
// over; closing what it returns closes the socket, and leaves the connections alone.
//
// All methods may be called at once from many goroutines, Close among them. A descriptor's number
// is never used after it was closed, when the kernel may have given it to somebody else: whatever
// uses the number holds the connection's lock, as Close does, or goes through an [os.File], which
// counts its users. After Close each method returns net.ErrClosed, or an error that matches it, a
// second Close too; Ends, LocalAddr and RemoteAddr return what was known when it was closed.
//
// Away from Linux, and on 386 and s390x, Listen returns its argument.
package direct
