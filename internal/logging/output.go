package logging

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"unsafe"

	"github.com/coreos/go-systemd/v22/journal"
	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

const (
	journalSocket = "/run/systemd/journal/socket"
	syslogSocket  = "/dev/log"

	// A value is cut at this length. The journal takes more, but not in a datagram
	// of the default size; rsyslog ends a line at 8 KiB.
	journalLimit = 32 << 10
	syslogLimit  = 7 << 10
	streamLimit  = 32 << 10

	// pipeBuf is what a pipe that polls writable takes without blocking (PIPE_BUF of
	// pipe(7)).
	pipeBuf = 4096
)

// An output is where entries go, and how.
type output struct {
	name  string // journald, syslog, stdout or stderr
	form  form
	limit int // see form
	carrier
}

// A carrier takes bytes away.
type carrier interface {
	// send writes b and returns how many bytes were taken. It does not block:
	// EAGAIN says that the descriptor will tell when there is room again.
	send(b []byte) (int, error)

	// descriptor is what to poll for writing; below zero there is nothing to wait for.
	descriptor() int

	close()
}

// open returns the output that o asks for. The carrier of now is kept if it is of
// the same kind; now may be nil. An output that can't be reached is returned too,
// with the reason: it may come back.
func (e *environment) open(o Options, now *output) (*output, error) {
	name := o.Output
	if name == toAuto {
		name = toStderr
		if e.stderr.journal && (now != nil && now.name == toJournald || e.reachable()) {
			name = toJournald
		}
	}
	out := &output{name: name}
	switch name {
	case toJournald:
		out.form, out.limit = native, journalLimit
	case toSyslog:
		out.form, out.limit = datagram(plain), syslogLimit
		if o.Format == jsonFormat {
			out.form = datagram(object)
		}
	default:
		out.form, out.limit = e.standard(name).page(o.Format).line, streamLimit
	}
	if now != nil && now.name == name {
		out.carrier = now.carrier
		return out, nil
	}
	var err error
	switch name {
	case toJournald:
		out.carrier, err = dial(e.journalSocket)
	case toSyslog:
		out.carrier, err = dial(e.syslogSocket)
	default:
		out.carrier, err = newStream(e.standard(name).File)
	}
	if err != nil {
		err = fmt.Errorf("log.output: %s: %w", name, err)
	}
	return out, err
}

// An environment is what the process was started with.
type environment struct {
	stdout, stderr standard
	journalSocket  string
	syslogSocket   string
}

// environ looks around.
func environ(stdout, stderr *os.File) (*environment, error) {
	out, errOut := examine(stdout)
	diagnostics, errErr := examine(stderr)
	if err := errors.Join(errOut, errErr); err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	return &environment{stdout: out, stderr: diagnostics, journalSocket: journalSocket, syslogSocket: syslogSocket}, nil
}

// A standard is a stream that the process was started with.
type standard struct {
	*os.File
	journal  bool // it goes to journald
	terminal bool
	color    bool
}

func examine(file *os.File) (standard, error) {
	s := standard{File: file}
	fd, err := descriptor(file)
	if err != nil {
		return s, err
	}
	// An error is a JOURNAL_STREAM that makes no sense: then nothing is known.
	switch fd {
	case unix.Stdout:
		s.journal, _ = journal.StdoutIsJournalStream()
	case unix.Stderr:
		s.journal, _ = journal.StderrIsJournalStream()
	}
	s.terminal = term.IsTerminal(fd)
	s.color = s.terminal && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	return s, nil
}

// standard returns the stream of the output that is called so.
func (e *environment) standard(name string) standard {
	if name == toStdout {
		return e.stdout
	}
	return e.stderr
}

// reachable reports whether the journal's socket takes connections.
func (e *environment) reachable() bool {
	s, err := dial(e.journalSocket)
	s.close()
	return err == nil
}

func (s standard) page(format string) page {
	return page{journal: s.journal, terminal: s.terminal, color: s.color, object: format == jsonFormat}
}

// descriptor returns the number of f's descriptor, which stays f's.
func descriptor(f *os.File) (fd int, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return -1, err
	}
	err = raw.Control(func(number uintptr) { fd = int(number) })
	return fd, err
}

// A socket carries datagrams to a unix socket. It connects again when the other end
// went away and came back. It implements carrier.
type socket struct {
	path string
	fd   int // below zero: not connected
}

// dial returns a socket to path, and with it the reason why it is not connected, if
// it is not.
func dial(path string) (*socket, error) {
	s := &socket{path: path, fd: -1}
	return s, s.connect()
}

func (s *socket) connect() error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open socket: %w", err)
	}
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: s.path}); err != nil {
		_ = unix.Close(fd)
		return fmt.Errorf("connect %s: %w", s.path, err)
	}
	s.fd = fd
	return nil
}

func (s *socket) send(b []byte) (int, error) {
	if s.fd < 0 {
		if err := s.connect(); err != nil {
			return 0, err
		}
	}
	n, err := sendNow(s.fd, b)
	switch {
	case err == nil, errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR), errors.Is(err, unix.EMSGSIZE):
		return n, err
	}
	s.close() // the next send connects again
	return 0, fmt.Errorf("write to %s: %w", s.path, err)
}

// sendNow sends to the peer of a socket, without waiting. The call is raw, as it can't block: a
// call that the scheduler knows of wakes its watcher every 20 us, and 300 entries a second
// cost 3 to 5 % of all visits, instead of 1 to 2.
func sendNow(fd int, b []byte) (int, error) {
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)),
		unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

func (s *socket) descriptor() int { return s.fd }

func (s *socket) close() {
	if s.fd >= 0 {
		_ = unix.Close(s.fd)
		s.fd = -1
	}
}

// A stream carries bytes to stdout or stderr, whatever that is. It implements carrier.
//
// The descriptor may be shared with other processes, a shell for one, so O_NONBLOCK
// must not be set on it: a pipe or a terminal is opened once more for ourselves, and
// a socket has MSG_DONTWAIT. Where neither works, and for a file, poll decides.
type stream struct {
	file *os.File // keeps fd open
	fd   int
	kind uint32 // S_IFSOCK and so on
	own  bool   // fd is ours and nonblocking
}

func newStream(file *os.File) (*stream, error) {
	s := &stream{file: file}
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

func (s *stream) send(b []byte) (n int, err error) {
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

func (s *stream) descriptor() int { return s.fd }

func (s *stream) close() {
	if s.own {
		_ = unix.Close(s.fd)
	}
}
