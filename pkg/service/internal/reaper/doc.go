// Package reaper keeps connections open after their last byte was written, until the client hangs up.
//
// A socket that is closed with unread input sends RST, which can destroy bytes that are still on their
// way to the client. So the server half-closes, discards what the client sends, and closes when the
// client has closed, or when the time of the connection is over. A [Reaper] does this for all
// connections. Sockets of the kernel share one goroutine and one epoll(7) set. Other connections, and
// all connections on systems other than Linux, have a goroutine each.
//
// Most clients hang up as soon as they have read to the end. So the reaper reads from each new
// connection once, some milliseconds after Add. By then it can close most of them, and only the rest
// enters the epoll set. The delay before this first check adapts to the clients, see [Reaper.Sweep].
//
// # Life of a connection
//
// The caller fills in a [Conn] and passes it to [Reaper.Add]; [Reaper.HalfClose] must follow. From Add
// on the reaper owns the connection: no other code may read from it, write to it, or close it. The
// reaper closes it once: because the client has closed or reset it, because Until has passed, because
// [Reaper.Evict] needed its place, or because of [Reaper.Close]. Then it passes the Conn to the hook
// Closed, together with others that it has closed at the same time. Between Add and the half-close it
// closes a connection only if the client has left, or if the reaper is closing.
//
// # Locks
//
// All methods may be called from many goroutines at once. The [Hooks] are called without the lock that
// Add needs, so they may take locks of the caller. Add calls no hook and does not wait, so it may be
// called with those locks held. All other methods may call hooks before they return.
package reaper
