package reaper

const (
	maxEvents     = 128  // of the poll set that are asked for at once
	trimThreshold = 1024 // more connections than these take memory that is given back when they have gone
)

// A socket is a connection with a descriptor. Those of package direct are sockets; on Linux others
// are made of what has SyscallConn.
type socket interface {
	// Control calls f with the number of the descriptor, which stays open until f returns. The
	// error says that it is closed.
	Control(f func(fd int)) error

	// Discard reads into waste once, without waiting, and returns EAGAIN where nothing
	// is there. 0 and another error, or none, say that nothing more will come.
	Discard(waste []byte) (int, error)
}
