package main

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"syscall"
)

// Exit codes for a command that can't be started, the same as those of the shell and of env(1).
const (
	exitNotExecutable = 126
	exitNotFound      = 127
)

// become replaces this process by the command, with the same process ID, descriptors and environment. It
// returns only if that fails, with an exit code. On Windows, which can't replace a process, it runs the
// command as a child, and returns with the exit code of the child.
func become(command []string, std streams) error {
	path, err := exec.LookPath(command[0])
	if err == nil && runtime.GOOS != "windows" {
		err = syscall.Exec(path, command, os.Environ())
	} else if err == nil {
		cmd := exec.Command(path, command[1:]...) //nolint:noctx // it lives as long as it wants, as after exec
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		err = cmd.Run()
		if err == nil {
			return nil
		}
		if ended, ok := errors.AsType[*exec.ExitError](err); ok {
			return exitCode(ended.ExitCode())
		}
	}
	if lookup, ok := errors.AsType[*exec.Error](err); ok {
		err = lookup.Err
	}
	std.say("run %s: %s", safe(command[0]), bare(err))
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		return exitCode(exitNotFound)
	}
	return exitCode(exitNotExecutable)
}
