package logging

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"greetd.example/internal/test/debian"
	"greetd.example/internal/test/journald"
	"greetd.example/internal/test/terminal"
	"greetd.example/pkg/journal"
	"greetd.example/pkg/service"
)

// TestMain is the test, or a process that logs to its own stderr or stdout, for the tests
// of how that is recognised.
func TestMain(m *testing.M) {
	socket, child := os.LookupEnv("LOGGING_TEST_JOURNAL")
	if !child {
		os.Exit(m.Run())
	}
	if err := logToStandard(socket, os.Args[1]); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// logToStandard logs one visit to output, and a fatal error, with socket for the journal's.
func logToStandard(socket, output string) error {
	env := newEnvironment(os.Stdout, os.Stderr)
	env.journalSocket = socket
	o := defaults
	o.Output = output
	l, err := open(o, env)
	if err != nil {
		return err
	}
	l.Closed(visit(1, service.Refused))
	if err := l.Close(); err != nil {
		return err
	}
	return Fatal(os.Stderr, "one\ntwo")
}

// child runs logToStandard with that stderr and returns what arrives at its other end.
func child(t *testing.T, socket, journalStream string, near, far *os.File) string {
	t.Helper()
	program := exec.Command(os.Args[0], toAuto)
	program.Env = append(os.Environ(), "LOGGING_TEST_JOURNAL="+socket, "JOURNAL_STREAM="+journalStream)
	program.Stderr = far
	if out, err := program.Output(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	far.Close()
	data, err := io.ReadAll(near)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// socketPair returns both ends of a stream, and the JOURNAL_STREAM of the second.
func socketPair(t *testing.T) (near, far *os.File, stream string) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	near, far = os.NewFile(uintptr(pair[0]), "near"), os.NewFile(uintptr(pair[1]), "far")
	t.Cleanup(func() { near.Close(); far.Close() })
	var stat unix.Stat_t
	if err := unix.Fstat(pair[1], &stat); err != nil {
		t.Fatal(err)
	}
	return near, far, fmt.Sprintf("%d:%d", stat.Dev, stat.Ino)
}

// TestAuto starts processes with the stderr that systemd, a shell and a container
// would give them.
func TestAuto(t *testing.T) {
	const visitText = "refused 192.0.2.7:51234 on greet, 25 bytes in 1.2 ms: because\n"
	t.Run("journal", func(t *testing.T) {
		j := journald.Start(t).Run()
		near, far, stream := socketPair(t)
		if got, want := child(t, j.Path, stream, near, far), "<3>one\n<3>two\n"; got != want {
			t.Errorf("stderr %q, want %q", got, want)
		}
		if got := j.Wait(1)[0]["GREETD_OUTCOME"]; got != "refused" {
			t.Errorf("outcome in the journal %q", got)
		}
	})
	t.Run("journal without its socket", func(t *testing.T) {
		near, far, stream := socketPair(t)
		want := "<5>" + visitText + "<3>one\n<3>two\n"
		if got := child(t, "/nonexistent/socket", stream, near, far); got != want {
			t.Errorf("stderr %q, want %q", got, want)
		}
	})
	t.Run("stdout to the journal", func(t *testing.T) {
		near, far, stream := socketPair(t)
		program := exec.Command(os.Args[0], toStdout)
		program.Env = append(os.Environ(), "LOGGING_TEST_JOURNAL=/nonexistent/socket", "JOURNAL_STREAM="+stream)
		program.Stdout = far
		if err := program.Run(); err != nil {
			t.Error(err)
		}
		far.Close()
		if got, err := io.ReadAll(near); err != nil || string(got) != "<5>"+visitText {
			t.Errorf("stdout %q, %v", got, err)
		}
	})
	for name, stream := range map[string]string{"pipe": "", "pipe of another": "1:2", "pipe and nonsense": "journal"} {
		t.Run(name, func(t *testing.T) {
			j := journald.Start(t)
			near, far, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer near.Close()
			stamp, rest, _ := strings.Cut(child(t, j.Path, stream, near, far), " ")
			if _, err := time.Parse(microseconds, stamp); err != nil {
				t.Error(err)
			}
			if want := "notice " + visitText + "greetd: one\ntwo\n"; rest != want {
				t.Errorf("stderr %q, want %q", rest, want)
			}
		})
	}
}

// TestSocketKeepsBlocking logs to a socket that is shared with others: they must
// not find it nonblocking.
func TestSocketKeepsBlocking(t *testing.T) {
	near, far, _ := socketPair(t)
	o := defaults
	o.Output, o.Rate = toStderr, 0
	l, err := Open(o, os.Stdout, far)
	if err != nil {
		t.Fatal(err)
	}
	l.flushTime = busy
	const sent = 2 * journal.QueueSize
	for i := range sent {
		l.Closed(visit(uint64(i), service.Greeted))
	}
	flags, err := unix.FcntlInt(far.Fd(), unix.F_GETFL, 0)
	if err != nil || flags&unix.O_NONBLOCK != 0 {
		t.Errorf("flags %#x, %v: O_NONBLOCK is set on a shared descriptor", flags, err)
	}
	dropped := int(l.Dropped())
	lines := countLines(near)
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	far.Close()
	if got := <-lines; got+dropped != sent {
		t.Errorf("%d lines and %d dropped, together not %d", got, dropped, sent)
	}
}

// countLines counts the visits that it reads until the end.
func countLines(from io.Reader) <-chan int {
	lines := make(chan int, 1)
	go func() {
		n := 0
		for scanner := bufio.NewScanner(from); scanner.Scan(); {
			if strings.HasSuffix(strings.TrimSpace(scanner.Text()), "192.0.2.7:51234 on greet, 25 bytes in 1.2 ms") {
				n++
			}
		}
		lines <- n
	}()
	return lines
}

// TestStoppedTerminal presses Ctrl-S.
func TestStoppedTerminal(t *testing.T) {
	t.Setenv("NO_COLOR", "")
	t.Setenv("TERM", "xterm")
	master, slave := terminal.Open(t)
	fd, err := descriptor(slave)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetInt(fd, unix.TCXONC, unix.TCOOFF); err != nil {
		t.Fatal(err)
	}
	o := defaults
	o.Output, o.Rate = toAuto, 0
	l, err := Open(o, os.Stdout, slave)
	if err != nil {
		t.Fatal(err)
	}
	l.flushTime = busy
	const sent = journal.QueueSize / 2
	for i := range sent {
		l.Closed(visit(uint64(i), service.Greeted))
	}
	if err := alive(t, l); err != nil {
		t.Error(err)
	}
	if err := unix.IoctlSetInt(fd, unix.TCXONC, unix.TCOON); err != nil {
		t.Fatal(err)
	}
	lines := countLines(master)
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	slave.Close() // the last one: the master's read ends
	if got := <-lines; got != sent {
		t.Errorf("%d lines, want %d", got, sent)
	}
}

func TestColor(t *testing.T) {
	for noColor, want := range map[string]bool{"": true, "1": false} {
		t.Setenv("TERM", "xterm")
		t.Setenv("NO_COLOR", noColor)
		master, slave := terminal.Open(t)
		l, err := Open(Options{Output: toAuto, Level: "info", Format: "text", Visits: "all"}, os.Stdout, slave)
		if err != nil {
			t.Fatal(err)
		}
		l.flushTime = busy
		l.Event(Ready, "ready")
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReader(master).ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(line, "\x1b["); got != want {
			t.Errorf("NO_COLOR=%s: %q", noColor, line)
		}
	}
}

// TestDiskFull logs to a device that is full. The log goes on trying, and is alive.
func TestDiskFull(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		debian.Lacking(t, "a device that is full: %v", err)
	}
	defer full.Close()
	o := defaults
	o.Output = toStderr
	l, err := Open(o, os.Stdout, full)
	if err != nil {
		t.Fatal(err)
	}
	l.Event(Ready, "ready")
	if err := alive(t, l); err != nil {
		t.Error(err)
	}
	err = l.Close()
	if want := "close log: stderr did not take 1 entry within 500.0 ms; 0 visits not logged"; err == nil || err.Error() != want {
		t.Errorf("Close = %v, want %s", err, want)
	}
}

// TestFileKeepsWhatIsThere logs to the end of a file, as 2>>file asks for.
func TestFileKeepsWhatIsThere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path, []byte("before\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	o := defaults
	o.Output = toStderr
	l, err := Open(o, os.Stdout, file)
	if err != nil {
		t.Fatal(err)
	}
	l.flushTime = busy
	l.Event(Ready, "ready")
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if text := string(data); !strings.HasPrefix(text, "before\n") || !strings.HasSuffix(text, " info ready\n") {
		t.Errorf("%q", text)
	}
}

// TestWarnsOnStderr loses the journal for longer than a second: stderr has a warning
// at once, the journal when it is back.
func TestWarnsOnStderr(t *testing.T) {
	j := journald.Start(t)
	j.Stop()
	env := testEnvironment(t, j.Path)
	l, err := open(defaults, env)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	l.Event(Ready, "ready")
	deadline := time.Now().Add(20 * time.Second)
	for !strings.Contains(read(t, env.stderr.File), "<3>cannot log to journald: connect "+j.Path+": connection refused") {
		if time.Now().After(deadline) {
			t.Fatalf("stderr has %q", read(t, env.stderr.File))
		}
		time.Sleep(10 * time.Millisecond)
	}
	j.Listen()
	j.Run()
	got := j.Wait(2)
	if got[0]["MESSAGE"] != "ready" || got[1]["MESSAGE_ID"] != OutputTroubled.ID() {
		t.Errorf("got %v", got)
	}
	if n := strings.Count(read(t, env.stderr.File), "\n"); n != 1 {
		t.Errorf("%d lines on stderr, want one", n)
	}
}

func read(t *testing.T, f *os.File) string {
	t.Helper()
	data, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestFatalGivesUp says why it ends to a pipe that is full.
func TestFatalGivesUp(t *testing.T) {
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	defer writer.Close()
	for {
		writer.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
		if _, err := writer.Write(make([]byte, 4096)); err != nil {
			break
		}
	}
	if err := Fatal(writer, "the end"); err == nil {
		t.Error("Fatal = nil, with a pipe that was full")
	}
}

// TestSyslogFull logs to a syslog daemon that does not read, then to one that is gone.
func TestSyslogFull(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	o := defaults
	o.Output, o.Rate = toSyslog, 0
	l, err := open(o, testEnvironment(t, path))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 * journal.QueueSize {
		l.Closed(visit(uint64(i), service.Greeted))
	}
	if err := alive(t, l); err != nil {
		t.Errorf("full: %v", err)
	}
	conn.Close()
	if err := alive(t, l); err != nil {
		t.Errorf("dead: %v", err)
	}
	if err := l.Close(); err == nil {
		t.Error("Close = nil, with a syslog daemon that is dead")
	}
}

func null(tb testing.TB) *os.File {
	tb.Helper()
	file, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { file.Close() })
	return file
}
