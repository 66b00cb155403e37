package systemd

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// notifyTimeout limits the wait if systemd does not read. It is short, since no single message is
// necessary.
const notifyTimeout = time.Second

// NewNotifier returns the Notifier for $NOTIFY_SOCKET, or nil if the variable is not set. It does
// not unset the variable. The address must be a unix socket, with a path or abstract, as systemd
// passes it; other kinds are an error.
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
	timeout := unix.NsecToTimeval(notifyTimeout.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &timeout); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("notify systemd: %w", os.NewSyscallError("setsockopt", err))
	}
	return &Notifier{socket: os.NewFile(uintptr(fd), address)}, nil
}

// sendRights is daemon.SdNotify with descriptors and with a time limit.
func (n *Notifier) sendRights(descriptors []int, lines ...string) error {
	conn, _ := n.socket.SyscallConn()              // fails only for nil
	to := unix.SockaddrUnix{Name: n.socket.Name()} // Sendmsg writes to it
	message := []byte(strings.Join(lines, "\n"))
	var rights []byte
	if len(descriptors) > 0 {
		rights = unix.UnixRights(descriptors...)
	}
	var failed error
	err := conn.Control(func(fd uintptr) {
		for deadline := time.Now().Add(notifyTimeout); ; {
			failed = unix.Sendmsg(int(fd), message, rights, &to, 0)
			if !errors.Is(failed, unix.EINTR) || time.Now().After(deadline) {
				return
			}
		}
	})
	if errors.Is(failed, unix.EAGAIN) {
		return fmt.Errorf("notify systemd: it has not read %s for %s: %w", to.Name, notifyTimeout, failed)
	}
	if err := errors.Join(err, failed); err != nil {
		return fmt.Errorf("notify systemd on %s: %w", to.Name, err)
	}
	return nil
}

// monotonicTime returns the assignment that must follow RELOADING=1.
func monotonicTime() string { return daemon.SdNotifyMonotonicUsec() }

func watchdogInterval() (time.Duration, error) { return daemon.SdWatchdogEnabled(false) }
