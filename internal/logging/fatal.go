package logging

import (
	"errors"
	"os"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
	"golang.org/x/sys/unix"
)

// Fatal says on stderr, at once and whatever becomes of the Log, why the process
// ends. Where stderr goes to journald each line has the priority of an error; else
// it begins with the program's name. It waits for a stderr that blocks at most half
// a second. The error is that of the write.
func Fatal(to *os.File, message string) error {
	s, err := examine(to)
	if err != nil {
		return err
	}
	return s.say(message, flushTime)
}

// say writes message to s. It waits at most patience for that.
func (s standard) say(message string, patience time.Duration) error {
	message = strings.TrimRight(message, "\n")
	text := []byte(identifier + ": " + message + "\n")
	if s.journal {
		text = text[:0]
		for line := range strings.SplitSeq(message, "\n") {
			text = append(text, '<', '0'+byte(journal.PriErr), '>')
			text = append(append(text, line...), '\n')
		}
	}
	to, err := newStream(s.File)
	if err != nil {
		return err
	}
	defer to.close()
	return to.writeAll(text, time.Now().Add(patience))
}

// writeAll writes b, and gives up when it is not written by the deadline.
func (s *stream) writeAll(b []byte, deadline time.Time) error {
	for len(b) > 0 {
		n, err := s.send(b)
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
