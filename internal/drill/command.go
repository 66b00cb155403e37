package drill

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// killDelay is how long after an interrupt a command may run before it is killed.
const killDelay = 5 * time.Second

// Command runs a command of the shell, and returns when the shell has ended; what it started in the background runs on.
// The end of its output is in the error, if it fails. When ctx is done, the command is interrupted, and after 5 s killed,
// with the processes that it has started, unless it shares a terminal with this process: then the terminal interrupts them.
func Command(ctx context.Context, command string) error {
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", command)
	cmd.Cancel = func() error { return interrupt(cmd) }
	cmd.WaitDelay = killDelay
	separate(cmd)
	output, said, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	cmd.Stdout, cmd.Stderr = said, said
	var last tail
	copied := make(chan struct{})
	go func() { // until the last process that has the pipe has ended, which may outlive the shell
		_, _ = io.Copy(&last, output)
		_ = output.Close()
		close(copied)
	}()
	err = cmd.Start()
	_ = said.Close()
	if err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	if err = cmd.Wait(); err == nil {
		return nil
	}
	if ctx.Err() != nil {
		killGroup(cmd)
	}
	select {
	case <-copied:
	case <-time.After(time.Second):
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if text := last.String(); text != "" {
		return fmt.Errorf("%s: %w: %s", command, err, text)
	}
	return fmt.Errorf("%s: %w", command, err)
}

// tailSize is how many bytes of the output of a command are kept.
const tailSize = 300

// A tail is a writer that keeps the end of what is written to it.
type tail struct {
	mu   sync.Mutex
	kept []byte
	cut  bool // something was dropped
}

func (t *tail) Write(text []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept = append(t.kept, text[max(len(text)-tailSize, 0):]...)
	if over := len(t.kept) - tailSize; over > 0 || len(text) > tailSize {
		t.kept, t.cut = append([]byte(nil), t.kept[max(over, 0):]...), true
	}
	return len(text), nil
}

// String is the end of the output, without space around it. It begins with ... if it is not the whole output.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := strings.TrimSpace(strings.ToValidUTF8(string(t.kept), ""))
	if t.cut {
		return "..." + text
	}
	return text
}
