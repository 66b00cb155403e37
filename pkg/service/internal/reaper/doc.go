// Package reaper keeps connections after their last byte was written, until the client hangs up.
//
// A socket that is closed with unread input sends RST, and that can destroy bytes which are still
// on their way to the client. So the server half-closes, reads and throws away what the client
// sends, and closes when the client has closed, or when the connection's time is over. A [Reaper]
// does that for all of them. Sockets of the kernel share one goroutine and one epoll(7) set; other
// connections, and all of them away from Linux, have a goroutine each.
//
// Most clients hang up as soon as they have read to the end. So the reaper reads from each new
// connection once, some milliseconds after it came, when most of them can be closed; only those
// that stay enter the epoll set. The delay before that first check follows the clients, see
// [Reaper.Sweep].
//
// # Life of a connection
//
// The caller fills in a [Conn] and hands it over with [Reaper.Add]; [Reaper.HalfClose] must follow.
// From Add on the connection is the reaper's: nobody else reads from it, writes to it, or closes
// it. The reaper closes it once: because the client has closed it or reset it, because Until has
// passed, because [Reaper.Evict] needed its place, or because of [Reaper.Close]. Then it calls the
// function Closed, once for each connection, with as many at once as it has closed together. None
// is closed between Add and the half-close, unless the client has gone, or the reaper is closing.
//
// # Locks
//
// All methods may be called from many goroutines at once. The [Hooks] are called
// without the lock that Add needs, so they may take locks of the caller's. Add calls neither of
// them and waits for nobody, so it may be called with those locks held. All other methods may call
// them before they return.
package reaper
