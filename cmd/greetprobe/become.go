package main

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"syscall"
)

// Exit codes of a command that can't be started, as the shell and env(1) have them.
const (
	exitNotExecutable = 126
	exitNotFound      = 127
)

// become makes this process the command: the same process ID, descriptors and
// environment. It returns only if that fails, or where the system can't do it, with
// the exit code of the command.
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
