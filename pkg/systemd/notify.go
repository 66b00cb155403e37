package systemd

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"
	"unicode"

	"github.com/coreos/go-systemd/v22/daemon"
)

// maxStatus leaves room for the rest in the 4096 bytes that systemd reads.
const maxStatus = 2048

// A Notifier sends the service manager what it should know (sd_notify(3)). Outside systemd
// it is nil, and a nil or zero Notifier sends nothing and returns nil. Its methods may be
// called at once from many goroutines. They wait a second at most, unless they say
// otherwise, and then return an error; no error is a reason to stop serving.
//
// A status is one line for people: line breaks in it become spaces, more than 2 KiB
// are cut, and "" clears the one before.
type Notifier struct {
	// One socket for all time: a ping must get through when descriptors are short.
	// It is not connected, so it survives a restart of systemd itself.
	// Its name is the address that it sends to.
	socket *os.File
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

// Reloading says that a reload begins, with the time, as Type=notify-reload wants it in
// the same datagram. Ready must follow.
func (n *Notifier) Reloading() error {
	return n.send(daemon.SdNotifyReloading, daemon.SdNotifyMonotonicUsec())
}

// Stopping says that the service begins to stop.
func (n *Notifier) Stopping(status string) error {
	return n.send(daemon.SdNotifyStopping, statusLine(status))
}

// Extend asks for d more, counted from now, before the start, the reload or the stop
// under way counts as failed. It never shortens what the unit allows.
func (n *Notifier) Extend(d time.Duration) error {
	return n.send(fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", max(d.Microseconds(), 1)))
}

// Ping resets the watchdog's timer.
func (n *Notifier) Ping() error {
	return n.send(daemon.SdNotifyWatchdog)
}

// ResetRestarts has systemd forget how often it restarted the service, so that the delay of the
// next restart is RestartSec= again (RestartSteps=). systemd below 258 ignores it.
func (n *Notifier) ResetRestarts() error {
	return n.send("RESTART_RESET=1")
}

// Errno says why the service is about to fail.
func (n *Notifier) Errno(errno syscall.Errno, status string) error {
	return n.send(fmt.Sprintf("ERRNO=%d", int(errno)), statusLine(status))
}

// Store has systemd keep a copy of the descriptor of c under name, over restarts and
// crashes, until Discard; the next process gets it by [Service.Stored]. It is for any
// descriptor: a packet socket, a memfd with state, a file. Listening sockets are stored by
// Listen itself. What is stored twice is kept once.
//
// A name is 1 to 241 printable ASCII characters, without colon and space. It has no
// effect if FileDescriptorStoreMax= of the unit is 0 or used up: only the journal of
// systemd says so. c stays the caller's.
func (n *Notifier) Store(name string, c syscall.Conn) error {
	if err := checkStoreName(name); err != nil {
		return err
	}
	// Without FDPOLL=0 systemd discards a packet socket at the first error on it.
	return n.sendDescriptor(c, "FDSTORE=1", "FDPOLL=0", "FDNAME="+filePrefix+name)
}

// Discard undoes Store, for every descriptor under that name.
func (n *Notifier) Discard(name string) error {
	if err := checkStoreName(name); err != nil {
		return err
	}
	return n.send("FDSTOREREMOVE=1", "FDNAME="+filePrefix+name)
}

func checkStoreName(name string) error {
	odd := func(r rune) bool { return r <= ' ' || r >= 127 || r == ':' }
	if name == "" || len(filePrefix)+len(name) > maxStoreName || strings.ContainsFunc(name, odd) {
		return fmt.Errorf("%q is no name for the fd store: use 1 to %d printable ASCII characters without colon and space",
			name, maxStoreName-len(filePrefix))
	}
	return nil
}

// store has systemd keep s. What a socket unit holds, and what is stored already, stays
// as it is.
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

// forget undoes store, for every socket that is stored under the name of s. It
// doesn't close s, and while s listens, the address stays in use: see
// [openSocket.Remove].
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
		return 0, fmt.Errorf("WATCHDOG_USEC and WATCHDOG_PID (WatchdogSec= of the unit): %w: unset them, or let systemd set them", err)
	}
	return interval, nil
}
