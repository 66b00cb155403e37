package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/procfs"
)

// look returns the facts about a process from /proc, or nil if there is no such process.
func look(pid int) *Process {
	proc, err := procfs.NewProc(pid)
	if err != nil {
		return nil
	}
	status, err := proc.NewStatus()
	if err != nil {
		return nil
	}
	p := &Process{PID: pid, UID: int(status.UIDs[1]), GIDs: []int{int(status.GIDs[1])}}
	_, groups, _ := strings.Cut(readFile(fmt.Sprintf("/proc/%d/status", pid)), "\nGroups:")
	for group := range strings.FieldsSeq(firstLine(groups)) {
		if gid, err := strconv.Atoi(group); err == nil {
			p.GIDs = append(p.GIDs, gid)
		}
	}
	if limits, err := proc.Limits(); err == nil {
		p.MaxFiles = limits.OpenFiles
	}
	if environ, err := proc.Environ(); err == nil {
		p.Environ = environ
	}
	return p
}

// isGreetd reports whether p, the main process of u, already runs the program of ExecStart=, or greetd. Before
// that, it is a child of systemd that runs as root, without a sandbox, and has its name in parentheses.
func (p *Process) isGreetd(u *Unit) bool {
	name := strings.TrimSuffix(readFile(fmt.Sprintf("/proc/%d/comm", p.PID)), "\n")
	program, _ := command(u.ExecStart)
	program = filepath.Base(program)
	return name == "greetd" || name == program[:min(len(program), maxComm)]
}

func fileOf(info fs.FileInfo) *File {
	f := &File{Mode: uint32(info.Mode().Perm()), Changed: info.ModTime()}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		f.UID, f.GID = int(stat.Uid), int(stat.Gid)
	}
	return f
}

// run runs a program and returns its standard output. If the program fails and writes to standard error, this is
// the text of the error.
func run(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "SYSTEMD_COLORS=0", "SYSTEMD_PAGER=", "SYSTEMD_LOG_LEVEL=warning", "SYSTEMD_LOG_TARGET=console")
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return "", fmt.Errorf("%s does not answer", name)
	case errors.As(err, &exit) && len(exit.Stderr) > 0:
		return string(out), errors.New(string(exit.Stderr))
	}
	return string(out), err
}

// readFile returns the content of a file; "" if it can't be read.
func readFile(path string) string {
	text, _ := os.ReadFile(path)
	return string(text)
}
