package drill

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"
)

// killDelay is the time after an interrupt until a command is killed.
const killDelay = 5 * time.Second

// Command runs a command with the shell, and returns when the shell has ended. Processes that it has started in the
// background continue to run. If the command fails, the error has the end of its output. When ctx is done, the command is
// interrupted, and after 5 s killed, together with the processes that it has started. If it shares a terminal with this
// process, the terminal interrupts these processes instead.
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
	go func() { // ends with the last process that has the pipe; this can be after the end of the shell
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

const tailSize = 300 // bytes of the output of a command are kept

// A tail is a writer that keeps the last bytes that are written to it.
type tail struct {
	mu   sync.Mutex
	kept []byte
	cut  bool // something was dropped
}

func (t *tail) Write(text []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept = append(t.kept, text...)
	if over := len(t.kept) - tailSize; over > 0 {
		t.kept, t.cut = slices.Delete(t.kept, 0, over), true
	}
	return len(text), nil
}

// String returns the end of the output, without white space around it. It begins with ... if it is not the whole output.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := strings.TrimSpace(strings.ToValidUTF8(string(t.kept), ""))
	if t.cut {
		return "..." + text
	}
	return text
}
