package logging

import (
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"greetd.example/pkg/journal"
)

const (
	syslogSocket = "/dev/log"

	// The maximum length of a value, in bytes. Longer values are cut. The journal accepts longer values,
	// but not in a datagram of the default size. rsyslog ends a line at 8 KiB.
	journalLimit = 32 << 10
	syslogLimit  = 7 << 10
	streamLimit  = 32 << 10
)

// An output is a destination of entries, with the form of the entries there.
type output = journal.Output[*entry]

// An environment has the streams of the process and the sockets of the log daemons.
type environment struct {
	stdout, stderr standard
	journalSocket  string
	syslogSocket   string
}

// A standard is a stream that the process was started with.
type standard struct {
	*os.File
	journal  bool // it goes to journald
	terminal bool
	color    bool
}

func newEnvironment(stdout, stderr *os.File) *environment {
	return &environment{newStandard(stdout), newStandard(stderr), journal.DefaultSocket, syslogSocket}
}

func newStandard(file *os.File) standard {
	s := standard{File: file, journal: journal.IsJournal(file)}
	if raw, err := file.SyscallConn(); err == nil { // file.Fd could make a shared descriptor blocking
		_ = raw.Control(func(fd uintptr) { s.terminal = term.IsTerminal(int(fd)) })
	}
	s.color = s.terminal && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	return s
}

// output returns the output for the options o, without a Conn. now is the name of the output in use; "" if
// there is none.
func (e *environment) output(o Options, now string) *output {
	switch name := e.resolve(o.Output, now); name {
	case toJournald:
		return newOutput(name, nativeForm{}, journalLimit)
	case toSyslog:
		return newOutput(name, syslogForm{json: o.Format == jsonFormat}, syslogLimit)
	default:
		return newOutput(name, e.standard(name).form(o.Format), streamLimit)
	}
}

// resolve returns the name of the output for name, which can be auto. For auto, a log that goes to journald
// now stays there, even if journald does not run at present.
func (e *environment) resolve(name, now string) string {
	switch {
	case name != toAuto:
		return name
	case e.stderr.journal && (now == toJournald || e.reachable()):
		return toJournald
	default:
		return toStderr
	}
}

// reachable reports whether the journal's socket accepts connections.
func (e *environment) reachable() bool {
	s, err := journal.Dial(e.journalSocket)
	_ = s.Close()
	return err == nil
}

func newOutput(name string, f form, limit int) *output {
	return &output{Name: name, Encode: newEncoder(f).encode, Limit: limit}
}

// connect returns a Conn to the output with this name. If the output can't be reached, it returns an error,
// and also a Conn without a descriptor, with which the writer tries again later.
func (e *environment) connect(name string) (conn journal.Conn, err error) {
	switch name {
	case toJournald:
		conn, err = journal.Dial(e.journalSocket)
	case toSyslog:
		conn, err = journal.Dial(e.syslogSocket)
	default:
		conn, err = journal.OpenStream(e.standard(name).File)
	}
	if err != nil {
		err = fmt.Errorf("log.output: %s: %w", name, err)
	}
	return conn, err
}

// standard returns the stream of the output with this name.
func (e *environment) standard(name string) standard {
	if name == toStdout {
		return e.stdout
	}
	return e.stderr
}

func (s standard) form(format string) form {
	if format == jsonFormat {
		return jsonForm{journal: s.journal}
	}
	return textForm{journal: s.journal, terminal: s.terminal, color: s.color}
}

// warn writes message, a warning about the output with this name, to stderr, unless the output is stderr.
func (e *environment) warn(output, message string) {
	if output != toStderr {
		_ = e.stderr.write(message, 0)
	}
}

// Fatal writes message, the reason why the process ends, to the file to, at once and without a Log. The
// file is usually stderr. If it goes to journald, each line has the priority of an error; otherwise the
// message begins with the name of the program. If a write blocks, Fatal waits at most half a second. The
// error is that of the write.
func Fatal(to *os.File, message string) error {
	return newStandard(to).write(message, flushTime)
}

// write writes message to s at once. It waits at most timeout for that.
func (s standard) write(message string, timeout time.Duration) error {
	message = strings.TrimRight(message, "\n")
	text := []byte(identifier + ": " + message + "\n")
	if s.journal {
		text = text[:0]
		for line := range strings.SplitSeq(message, "\n") {
			text = append(append(appendPriority(text, journal.PriErr), line...), '\n')
		}
	}
	return journal.WriteFile(s.File, text, time.Now().Add(timeout))
}
