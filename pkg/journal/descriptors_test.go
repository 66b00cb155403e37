//go:build linux

package journal

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// openDescriptors counts those of the process.
func openDescriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// number returns that of f's descriptor.
func number(f *os.File) int {
	fd, _ := descriptor(f)
	return fd
}

// A journald that is away, comes and goes, and a warning on stderr: however often the daemon tries, it
// has as many descriptors afterwards as before.
func TestAttemptsLeaveNoDescriptor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	near, far, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	defer far.Close()
	socket, _ := Dial(path)
	before := openDescriptors(t)
	for name, attempt := range map[string]func() error{
		"dial nothing": func() error {
			_, err := Dial(path)
			return err
		},
		"send to nothing": func() error {
			_, err := socket.Send([]byte("x"))
			return err
		},
		"lose the other end": func() error {
			listening, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
			if err != nil {
				t.Fatal(err)
			}
			defer os.Remove(path)
			if _, err := socket.Send([]byte("x")); err != nil {
				t.Errorf("with another end: %v", err)
			}
			listening.Close()
			_, err = socket.Send([]byte("x"))
			return err
		},
		"warn on stderr": func() error {
			return errors.Join(errors.New("is no failure"), WriteFile(far, []byte("x\n"), time.Now().Add(time.Minute)))
		},
	} {
		for range 10 {
			if err := attempt(); err == nil {
				t.Errorf("%s: no error", name)
			}
		}
		if more := openDescriptors(t) - before; more != 0 {
			t.Errorf("%s, ten times: %d descriptors more than before", name, more)
		}
	}
	if err := errors.Join(socket.Close(), socket.Close()); err != nil {
		t.Errorf("a second Close: %v", err)
	}
}

// An erringConn fails once in a row with each of its errors, after a part of what it is sent if it is a
// stream, then accepts.
type erringConn struct {
	file   *os.File // which can be written to at once
	errors []error
	stream bool
	sent   []byte
}

func (c *erringConn) Send(b []byte) (n int, err error) {
	if len(c.errors) > 0 {
		if err, c.errors = c.errors[0], c.errors[1:]; !c.stream {
			return 0, err
		}
		b = b[:1]
	}
	c.sent = append(c.sent, b...)
	return len(b), err
}

func (c *erringConn) FD() int      { return number(c.file) }
func (c *erringConn) Close() error { return nil }

// Whatever the kernel says once of an entry, and whatever part of it was written before: it arrives once
// and whole, and those behind it too.
func TestInterruptedWritesLoseAndRepeatNothing(t *testing.T) {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for _, once := range [][]error{
		{unix.EINTR},
		{unix.EAGAIN},
		{unix.ENOBUFS},
		{unix.ENOMEM},
		{unix.EPERM},
		{unix.ECONNREFUSED},
		{unix.ECONNRESET},
		{unix.ENOTCONN},
		{unix.EPIPE},
		{unix.EIO},
		{unix.ENOSPC},
		{unix.EINTR, unix.EAGAIN, unix.ENOBUFS, unix.EINTR, unix.EAGAIN},
	} {
		for _, stream := range []bool{false, true} {
			c := &erringConn{file: null, errors: slices.Clone(once), stream: stream}
			var count counter
			w, err := NewWriter(to(c), count.hooks())
			if err != nil {
				t.Fatal(err)
			}
			var want strings.Builder
			for i := range 3 {
				w.Put(100_000+i, false)
				fmt.Fprintln(&want, 100_000+i)
			}
			if err := w.Close(time.Minute); err != nil {
				t.Errorf("%v, stream %t: %v", once, stream, err)
			}
			if string(c.sent) != want.String() || count.written.Load() != 3 || count.dropped.Load() != 0 {
				t.Errorf("%v, stream %t: sent %q, %d written and %d dropped", once, stream, c.sent, count.written.Load(), count.dropped.Load())
			}
		}
	}
}

// deafConn never accepts anything, for one reason.
type deafConn struct {
	err      error
	fd       int
	attempts int
}

func (c *deafConn) Send([]byte) (int, error) {
	c.attempts++
	return 0, c.err
}

func (c *deafConn) FD() int      { return c.fd }
func (c *deafConn) Close() error { return nil }

// An output that fails, or is full, is not tried again without a pause: greetd would take a whole
// processor. The pauses become longer, up to a limit, and short again once the output works.
func TestFailuresAreNotRetriedAtOnce(t *testing.T) {
	near, far, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	defer far.Close()
	for _, err := range []error{unix.EAGAIN, unix.ENOBUFS} {
		c := &deafConn{err: err, fd: number(near)} // the end to read from is never ready for writing
		w, err := NewWriter(to(c), (&counter{}).hooks())
		if err != nil {
			t.Fatal(err)
		}
		w.Put(1, false)
		if err := w.Close(10 * flushPause); !errors.Is(err, ErrNotWritten) || c.attempts < 2 || c.attempts > 50 {
			t.Errorf("%v: %d attempts in %v; Close returned %v", c.err, c.attempts, 10*flushPause, err)
		}
	}

	w, err := newWriter(to(&deafConn{}), (&counter{}).hooks())
	if err != nil {
		t.Fatal(err)
	}
	defer w.signal.Close()
	var pauses []time.Duration
	for range 10 {
		w.fails(unix.ENOBUFS)
		pauses = append(pauses, w.pause)
	}
	if !slices.IsSorted(pauses) || pauses[0] != firstPause || pauses[9] != maxPause {
		t.Errorf("pauses %v, want from %v to %v", pauses, firstPause, maxPause)
	}
	w.works()
	if w.fails(unix.ENOBUFS); w.pause != firstPause {
		t.Errorf("after it worked the pause is %v, want %v", w.pause, firstPause)
	}
}
