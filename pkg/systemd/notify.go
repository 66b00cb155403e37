package systemd

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"
	"unicode"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

const (
	// notifyPatience bounds the wait while systemd doesn't read. It is short, since
	// greetd can do without any one of its messages.
	notifyPatience = time.Second

	// maxStatus leaves room for the rest in the 4096 bytes that systemd reads.
	maxStatus = 2048
)

// A Notifier tells systemd how greetd is (sd_notify(3)). Outside systemd it is nil,
// and a nil or zero Notifier tells nobody and returns nil. Its methods may be called
// at once from many goroutines. They wait a second at most, and then return an
// error; no error is a reason to stop serving.
//
// A status is one line for people: line breaks in it become spaces, more than 2 KiB
// are cut, and "" clears the one before.
type Notifier struct {
	// One socket for all time: a ping must get through when descriptors are short.
	// It is not connected, so it survives a restart of systemd itself.
	// Its name is the address that it sends to.
	socket *os.File
}

// NewNotifier returns the Notifier for $NOTIFY_SOCKET, or nil if that is not set.
// The variable stays set.
func NewNotifier() (*Notifier, error) {
	address := os.Getenv("NOTIFY_SOCKET")
	if address == "" {
		return nil, nil
	}
	if address[0] != '/' && address[0] != '@' {
		return nil, fmt.Errorf("NOTIFY_SOCKET=%q is neither a path nor an abstract socket: unset it, or let systemd set it", address)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("notify systemd: %w", os.NewSyscallError("socket", err))
	}
	patience := unix.NsecToTimeval(notifyPatience.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &patience); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("notify systemd: %w", os.NewSyscallError("setsockopt", err))
	}
	return &Notifier{socket: os.NewFile(uintptr(fd), address)}, nil
}

// Ready says that every listener is open and the configuration applies. It also ends
// every reload, the failed ones too: systemd waits for it.
func (n *Notifier) Ready(status string) error {
	return n.send(daemon.SdNotifyReady, statusLine(status))
}

// Status is what `systemctl status` shows.
func (n *Notifier) Status(status string) error {
	return n.send(statusLine(status))
}

// Reloading says that a reload begins. Ready must follow.
func (n *Notifier) Reloading() error {
	return n.send(daemon.SdNotifyReloading, daemon.SdNotifyMonotonicUsec()) // one datagram, or the reload job may end early
}

// Stopping says that the end begins.
func (n *Notifier) Stopping(status string) error {
	return n.send(daemon.SdNotifyStopping, statusLine(status))
}

// Extend asks for d more, counted from now, before the start, the reload or the stop
// under way counts as failed. It never shortens what the unit allows.
func (n *Notifier) Extend(d time.Duration) error {
	return n.send(fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", max(d.Microseconds(), 1)))
}

// Ping tells the watchdog that greetd is well.
func (n *Notifier) Ping() error {
	return n.send(daemon.SdNotifyWatchdog)
}

// Errno says why greetd is about to end.
func (n *Notifier) Errno(errno syscall.Errno, status string) error {
	return n.send(fmt.Sprintf("ERRNO=%d", int(errno)), statusLine(status))
}

// Store has systemd keep s across a restart or a crash of greetd, to come back from
// Inherit. What a socket unit holds, and what is stored already, stays as it is. It
// has no effect if FileDescriptorStoreMax= of the unit is 0 or used up: only the
// journal of systemd tells.
func (n *Notifier) Store(s Socket) error {
	if n == nil || s.Origin == SocketUnit {
		return nil
	}
	err := control(s.Listener, func(fd int) error {
		return n.sendRights(unix.UnixRights(fd), "FDSTORE=1", "FDNAME="+s.storeName())
	})
	if err == nil && s.file != nil {
		s.file.stored.Store(true)
	}
	return err
}

// Forget undoes Store, for every socket that is stored under the name of s. It
// doesn't close s, and while s listens, the address stays in use: see
// [Socket.Remove].
func (n *Notifier) Forget(s Socket) error {
	if n == nil || s.Origin == SocketUnit {
		return nil
	}
	return n.send("FDSTOREREMOVE=1", "FDNAME="+s.storeName())
}

func (s Socket) storeName() string {
	if s.Origin == FDStore {
		return s.Name
	}
	if s.file == nil {
		return storeName(s.Address, fileID{})
	}
	return storeName(s.Address, s.file.fileID)
}

func (n *Notifier) send(lines ...string) error {
	return n.sendRights(nil, lines...)
}

// sendRights is daemon.SdNotify with descriptors and with an end to its patience.
func (n *Notifier) sendRights(rights []byte, lines ...string) error {
	if n == nil || n.socket == nil {
		return nil
	}
	conn, err := n.socket.SyscallConn()
	if err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	to := unix.SockaddrUnix{Name: n.socket.Name()} // Sendmsg writes to it
	message := []byte(strings.Join(lines, "\n"))
	var failed error
	err = conn.Control(func(fd uintptr) {
		for deadline := time.Now().Add(notifyPatience); ; {
			failed = unix.Sendmsg(int(fd), message, rights, &to, 0)
			if !errors.Is(failed, unix.EINTR) || time.Now().After(deadline) {
				return
			}
		}
	})
	if errors.Is(failed, unix.EAGAIN) {
		return fmt.Errorf("notify systemd: it has not read %s for %s: %w", to.Name, notifyPatience, failed)
	}
	if err := errors.Join(err, failed); err != nil {
		return fmt.Errorf("notify systemd on %s: %w", to.Name, err)
	}
	return nil
}

// statusLine keeps text from being read as further assignments, and valid UTF-8:
// systemd ignores a status that is not.
func statusLine(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
	if len(text) > maxStatus {
		text = strings.ToValidUTF8(text[:maxStatus], "") + "…"
	}
	return "STATUS=" + text
}

// WatchdogInterval is how often, at least, Ping must be called (WatchdogSec= of the
// unit; twice as often is safe), or 0 if nobody watches this process.
func WatchdogInterval() (time.Duration, error) {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return 0, fmt.Errorf("read the watchdog's interval: %w", err)
	}
	return interval, nil
}
