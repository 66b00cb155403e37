package docs_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"greetd.example/internal/test/debian"
	"greetd.example/internal/test/manpage"
)

// A command of a console block, and what it prints.
type command struct {
	line   int
	text   string
	output []string
}

// commands returns what follows a $ in a page's console blocks.
func commands(t *testing.T, page string) (found []command) {
	t.Helper()
	for _, b := range manpage.Blocks(t, page) {
		if b.Kind != "console" {
			continue
		}
		for i, line := range b.Lines {
			if text, ok := strings.CutPrefix(line, "$ "); ok {
				found = append(found, command{line: b.Line + i, text: text})
			} else {
				last := &found[len(found)-1]
				last.output = append(last.output, line)
			}
		}
	}
	return found
}

// desk returns a directory that looks like a checkout in which somebody has called make
// build.
func desk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", filepath.Join(dir, "bin")+"/", "../cmd/...")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	for _, name := range []string{"docs", "configs"} {
		path, err := filepath.Abs("../" + name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// apart prepares cmd to run in a network of its own, in which all ports are free, and
// with everything that it starts ending with it.
func apart(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWPID | unix.CLONE_NEWNS}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
}

// apartOrLacking skips the test where the machine has no networks to give away.
func apartOrLacking(t *testing.T) {
	t.Helper()
	debian.Program(t, "ip", "iproute2")
	try := exec.CommandContext(t.Context(), "true")
	apart(try)
	if err := try.Run(); err != nil {
		debian.Lacking(t, "a network namespace: %v", err)
	}
}

// inPrivate is what a shell that runs apart does first.
const inPrivate = "mount --make-rprivate / && mount -t proc proc /proc && ip link set lo up || exit 99\n"

const mark = "\x01"

var number = regexp.MustCompile(`\s*\d+(\.\d+)*`)

// alike reports whether got is like want: numbers may be others, and "..." stands for any
// lines.
func alike(got, want []string) bool {
	switch {
	case len(want) == 0:
		return len(got) == 0
	case want[0] == "...":
		return alike(got, want[1:]) || len(got) > 0 && alike(got[1:], want)
	default:
		return len(got) > 0 && number.ReplaceAllString(got[0], "N") == number.ReplaceAllString(want[0], "N") && alike(got[1:], want[1:])
	}
}

// measured are the commands by whose numbers the page says something: what a command that
// contains this prints before or behind a word.
var measured = []struct {
	command     string
	number      *regexp.Regexp
	least, most int
}{
	{"load --rate 1000", regexp.MustCompile(`ok +(\d+)`), 0, 2999},
	{"count localhost:10000 3000", greeted, 3000, 3000},
	{"count 127.0.0.1:10002 500 -P 500", greeted, 1, 450},
	{"count 127.0.0.1:10000 500 -P 500", greeted, 500, 500},
	{"count 127.0.0.1:10002 500 -P 50 ", regexp.MustCompile(`(\d+) "status":"reset"`), 100, 500},
	{"count 127.0.0.1:10000 500 -P 50 ", greeted, 500, 500},
}

var greeted = regexp.MustCompile(`(\d+) "status":"ok"`)

// holdsMeasured holds what was printed against what the page says of it.
func holdsMeasured(t *testing.T, printed map[string]string) {
	t.Helper()
	for _, m := range measured {
		var found []string
		for text, output := range printed {
			if strings.Contains(text, m.command) {
				found = m.number.FindStringSubmatch(output)
			}
		}
		if found == nil {
			t.Errorf("%s printed nothing like %s", m.command, m.number)
			continue
		}
		n, _ := strconv.Atoi(found[1])
		t.Logf("%s: %d", m.command, n)
		if n < m.least || n > m.most {
			t.Errorf("%s: %d, want %d to %d", m.command, n, m.least, m.most)
		}
	}
}

// TestConsole runs what the page shows, in one shell, and compares what it prints. The
// numbers by which the page says something have to be of that kind in each run.
func TestConsole(t *testing.T) {
	apartOrLacking(t)
	debian.Program(t, "gcc", "build-essential")
	const page = "from-sockets-to-systemd.md"
	all := commands(t, page)
	if len(all) < 10 {
		t.Fatalf("only %d commands were found", len(all))
	}
	var script strings.Builder
	script.WriteString(inPrivate)
	for _, c := range all {
		fmt.Fprintf(&script, "printf '%s'\n%s\n", mark, c.text)
	}
	shell := exec.CommandContext(t.Context(), "bash", "-c", script.String())
	apart(shell)
	shell.Dir = desk(t)
	out, _ := shell.CombinedOutput() // some of the commands fail, and say so
	parts := strings.Split(string(out), mark)
	if len(parts) != len(all)+1 {
		t.Fatalf("%d of %d commands ran:\n%s", len(parts)-1, len(all), out)
	}
	printed := map[string]string{}
	for i, c := range all {
		printed[c.text] = parts[i+1]
		got := strings.Split(strings.TrimSuffix(parts[i+1], "\n"), "\n")
		if len(got) == 1 && got[0] == "" {
			got = nil
		}
		if !alike(got, c.output) {
			t.Errorf("%s:%d: $ %s\nprinted\n%s\nand not\n%s", page, c.line, c.text, strings.Join(got, "\n"), strings.Join(c.output, "\n"))
		}
	}
	holdsMeasured(t, printed)
}

// TestMakeRun goes from nothing to a greeted client by the first command of the README.
func TestMakeRun(t *testing.T) {
	apartOrLacking(t)
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	first := regexp.MustCompile("(?m)^    (make run) .* try `(bin/greetprobe localhost 10000)`$").FindSubmatch(text)
	if first == nil {
		t.Fatal("the README does not begin with make run")
	}
	shell := exec.CommandContext(t.Context(), "bash", "-c", fmt.Sprintf("%s%s >&2 & until [ -x bin/greetprobe ]; do sleep 0.1; done; %s --wait 120s",
		inPrivate, first[1], first[2]))
	apart(shell)
	shell.Dir = ".."
	out, err := shell.Output()
	greeted := regexp.MustCompile(`^localhost:10000 says:\nHello there, (?:::1|127\.0\.0\.1)!\n$`) // IPv4 if greetd began to listen after ::1 was tried
	if err != nil || !greeted.Match(out) {
		t.Errorf("%s printed %q, want %s (%v)", first[2], out, greeted, err)
	}
}
