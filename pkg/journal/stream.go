//go:build linux

package journal

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
	"golang.org/x/sys/unix"
)

// pipeBuf is the number of bytes that a pipe accepts without blocking when poll reports it writable
// (PIPE_BUF of pipe(7)).
const pipeBuf = 4096

// A Stream is a [Conn] that writes to a file, a pipe, a terminal or a socket, such as stderr. The
// methods must not be called at the same time.
//
// The descriptor may be shared with other processes, such as a shell, so the Stream must not set
// O_NONBLOCK on it. It opens a pipe or a terminal again for itself, and uses MSG_DONTWAIT for a
// socket. If neither is possible, and for a file, it writes when poll reports that it can.
type Stream struct {
	file *os.File // keeps fd open
	fd   int
	kind uint32 // S_IFSOCK and so on
	own  bool   // fd is ours and nonblocking
}

// OpenStream returns a Stream to file. file still belongs to the caller, and must stay open until
// Close.
func OpenStream(file *os.File) (*Stream, error) {
	s := &Stream{file: file}
	var err error
	if s.fd, err = descriptor(file); err != nil {
		return s, err
	}
	var stat unix.Stat_t
	if err := unix.Fstat(s.fd, &stat); err != nil {
		return s, fmt.Errorf("stat: %w", err)
	}
	s.kind = stat.Mode & unix.S_IFMT
	if s.kind == unix.S_IFIFO || s.kind == unix.S_IFCHR {
		again, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", s.fd),
			unix.O_WRONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
		if err == nil {
			s.fd, s.own = again, true
		}
	}
	return s, nil
}

// Send implements [Conn].
func (s *Stream) Send(b []byte) (n int, err error) {
	switch {
	case s.own:
		n, err = unix.Write(s.fd, b)
	case s.kind == unix.S_IFSOCK:
		n, err = sendNow(s.fd, b)
	default:
		ready := []unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLOUT}}
		if n, err := unix.Poll(ready, 0); n == 0 || err != nil {
			return 0, cmp.Or(err, error(unix.EAGAIN))
		}
		n, err = unix.Write(s.fd, b[:min(len(b), pipeBuf)])
	}
	return max(n, 0), err
}

// FD implements [Conn].
func (s *Stream) FD() int { return s.fd }

// Close implements [Conn]. The file stays open.
func (s *Stream) Close() error {
	if !s.own {
		return nil
	}
	return unix.Close(s.fd)
}

// WriteFile writes b to file at once, without a Writer. If file blocks, it waits until deadline.
func WriteFile(file *os.File, b []byte, deadline time.Time) error {
	s, err := OpenStream(file)
	if err != nil {
		return err
	}
	defer s.Close()
	for len(b) > 0 {
		n, err := s.Send(b)
		b = b[n:]
		switch {
		case err == nil, errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN) && time.Now().Before(deadline):
			ready := []unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLOUT}}
			_, _ = unix.Poll(ready, int(time.Until(deadline)/time.Millisecond)+1)
		default:
			return err
		}
	}
	return nil
}

// IsJournal reports whether file is the stdout or stderr of the process and is connected to
// journald (JOURNAL_STREAM, see systemd.exec(5)).
func IsJournal(file *os.File) bool {
	connected := false
	// An error means a JOURNAL_STREAM that can't be parsed, or a closed file.
	switch fd, _ := descriptor(file); fd {
	case unix.Stdout:
		connected, _ = journal.StdoutIsJournalStream()
	case unix.Stderr:
		connected, _ = journal.StderrIsJournalStream()
	}
	return connected
}

// descriptor returns the descriptor of f, which still belongs to f.
func descriptor(f *os.File) (fd int, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return -1, err
	}
	err = raw.Control(func(number uintptr) { fd = int(number) })
	return fd, err
}
