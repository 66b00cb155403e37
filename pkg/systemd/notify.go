package systemd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"
	"unicode"
)

// maxStatus leaves room for the rest in the 4096 bytes that systemd reads.
const maxStatus = 2048

// A Notifier sends notifications to the service manager (sd_notify(3)). Outside systemd it is nil;
// a nil or zero Notifier sends nothing, and its methods return nil. The methods may be called at
// once from many goroutines. They wait for at most a second, unless their documentation says
// otherwise, and then return an error. No such error is a reason to stop serving.
//
// A status is one line for people: line breaks become spaces, text beyond 2 KiB is cut, and ""
// clears the previous status.
type Notifier struct {
	// The socket is opened once, so that a ping can be sent when there are no free descriptors.
	// It is not connected, so it also works after a restart of systemd itself.
	// Its name is the address that it sends to.
	socket *os.File
}

// Ready reports that every listener is open and the configuration applies. It must also follow
// every reload, including a failed one: systemd waits for it.
func (n *Notifier) Ready(status string) error {
	return n.send("READY=1", statusLine(status))
}

// Status sets the line that `systemctl status` shows.
func (n *Notifier) Status(status string) error {
	return n.send(statusLine(status))
}

// Reloading reports that a reload begins. It sends the time in the same datagram, as
// Type=notify-reload requires. Ready must follow.
func (n *Notifier) Reloading() error {
	return n.send("RELOADING=1", monotonicTime())
}

// Stopping reports that the service begins to stop.
func (n *Notifier) Stopping(status string) error {
	return n.send("STOPPING=1", statusLine(status))
}

// Extend asks systemd to wait for d, counted from now, before the present start, reload or stop
// counts as failed. It never shortens the time that the unit allows.
func (n *Notifier) Extend(d time.Duration) error {
	return n.send(fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", max(d.Microseconds(), 1)))
}

// Ping resets the watchdog's timer.
func (n *Notifier) Ping() error {
	return n.send("WATCHDOG=1")
}

// ResetRestarts makes systemd reset its count of restarts, so that the delay of the next restart is
// RestartSec= again (RestartSteps=). Versions of systemd before 258 ignore it.
func (n *Notifier) ResetRestarts() error {
	return n.send("RESTART_RESET=1")
}

// Errno reports why the service is about to fail.
func (n *Notifier) Errno(errno syscall.Errno, status string) error {
	return n.send(fmt.Sprintf("ERRNO=%d", int(errno)), statusLine(status))
}

// Store makes systemd keep a copy of the descriptor of c under name, across restarts and crashes,
// until Discard. The next process gets it with [Service.Stored]. Store works for any descriptor: a
// packet socket, a memfd with state, a file. Do not use it for listening sockets: Listen stores
// these itself. A descriptor that is stored twice is kept once.
//
// A name has 1 to 241 printable ASCII characters, without colon and space. If
// FileDescriptorStoreMax= of the unit is 0 or used up, Store has no effect and returns no error;
// only systemd logs it. c still belongs to the caller.
func (n *Notifier) Store(name string, c syscall.Conn) error {
	if err := checkStoreName(name); err != nil {
		return err
	}
	// Without FDPOLL=0 systemd discards a packet socket at the first error on it.
	return n.sendDescriptor(c, "FDSTORE=1", "FDPOLL=0", "FDNAME="+filePrefix+name)
}

// Discard removes all descriptors that were stored under name.
func (n *Notifier) Discard(name string) error {
	if err := checkStoreName(name); err != nil {
		return err
	}
	return n.send("FDSTOREREMOVE=1", "FDNAME="+filePrefix+name)
}

func checkStoreName(name string) error {
	odd := func(r rune) bool { return r <= ' ' || r >= 127 || r == ':' }
	if name == "" || len(filePrefix)+len(name) > maxStoreName || strings.ContainsFunc(name, odd) {
		return fmt.Errorf("%q is not a valid name for the fd store: use 1 to %d printable ASCII characters without colon and space",
			name, maxStoreName-len(filePrefix))
	}
	return nil
}

// store makes systemd keep s. It does nothing for sockets of a socket unit, and for sockets that are
// already stored.
func (n *Notifier) store(s openSocket) error {
	if n == nil || !s.isOwn() {
		return nil
	}
	err := n.sendDescriptor(s.Listener, "FDSTORE=1", "FDNAME="+s.storeName())
	if err == nil && s.file != nil {
		s.file.stored.Store(true)
	}
	return err
}

// forget undoes store, for every socket that is stored under the name of s. It does not close s. While
// s listens, the address stays in use: see [openSocket.Remove].
func (n *Notifier) forget(s openSocket) error {
	if n == nil || !s.isOwn() {
		return nil
	}
	return n.send("FDSTOREREMOVE=1", "FDNAME="+s.storeName())
}

func (s openSocket) storeName() string {
	if s.Origin == FDStore {
		return s.Name
	}
	if s.file == nil {
		return storeName(s.Address, fileID{})
	}
	return storeName(s.Address, s.file.fileID)
}

// Barrier waits until systemd has processed all notifications that were sent before
// (sd_notify_barrier(3)), or until ctx is done. Call it in a process that sends a notification and
// ends at once: otherwise systemd may no longer know that the sender belongs to the unit.
func (n *Notifier) Barrier(ctx context.Context) error {
	if n == nil || n.socket == nil {
		return nil
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	defer reader.Close()
	err = n.sendDescriptor(writer, "BARRIER=1")
	_ = writer.Close()
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = reader.SetReadDeadline(time.Unix(1, 0)) })()
	// systemd closes its copy of the other end when it comes to the message.
	if _, err := reader.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("wait until systemd has read the notifications: %w", context.Cause(ctx))
	}
	return nil
}

func (n *Notifier) close() error {
	if n == nil || n.socket == nil {
		return nil
	}
	if err := n.socket.Close(); !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}

func (n *Notifier) send(lines ...string) error {
	if n == nil || n.socket == nil {
		return nil
	}
	return n.sendRights(nil, lines...)
}

// sendDescriptor sends a copy of c's descriptor too.
func (n *Notifier) sendDescriptor(c any, lines ...string) error {
	if n == nil || n.socket == nil {
		return nil
	}
	return control(c, func(fd int) error { return n.sendRights([]int{fd}, lines...) })
}

// statusLine returns text as one line, so that systemd does not read a part of it as another
// assignment, and as valid UTF-8: systemd ignores a status with invalid UTF-8.
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

// WatchdogInterval returns the longest time that may pass between two calls of Ping (WatchdogSec=
// of the unit); call Ping twice as often to be safe. It returns 0 if the unit has no watchdog.
func WatchdogInterval() (time.Duration, error) {
	interval, err := watchdogInterval()
	if err != nil {
		return 0, fmt.Errorf("WATCHDOG_USEC and WATCHDOG_PID (WatchdogSec= of the unit): %w: unset them, or let systemd set them", err)
	}
	return interval, nil
}
