package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"greetd.example/internal/plugin"
	"greetd.example/internal/usage"
)

// pluginName is the name of the program under which greetprobe is a monitoring plugin.
const pluginName = "check_greet"

// run runs greetprobe with the arguments args, and returns the exit code. args[0] is the name of the program. SIGINT
// and SIGTERM cancel the probes in progress; a second signal kills the process. If standard output can't be written,
// the probes are canceled, too, since nothing reads further output.
func run(ctx context.Context, args []string, in io.Reader, out, errs io.Writer) int {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	// With Notify, SIGPIPE does not kill the process any more, and the write that caused it returns an error.
	broken := make(chan os.Signal, 1)
	signal.Notify(broken, syscall.SIGPIPE)
	defer signal.Stop(broken)

	checkedOut := &usage.Output{Writer: out, Failed: stop}
	std := streams{in, checkedOut, errs}
	root := newRoot(ctx, std)
	root.SetIn(in)
	root.SetErr(errs)
	words := args[1:]
	if filepath.Base(args[0]) == pluginName {
		words = append([]string{"check"}, words...)
	}
	if len(words) > 0 && strings.HasPrefix(words[0], "__complete") {
		usage.Plain(root)
	}
	root.SetArgs(words)
	cmd, err := root.ExecuteContextC(ctx)
	code, done := errors.AsType[exitCode](err)
	switch {
	case checkedOut.Err != nil && cmd.Name() == "check":
		std.say("%s", checkedOut.Err)
		return int(plugin.Unknown)
	case checkedOut.Err != nil:
		std.say("%s", checkedOut.Err)
		return exitLocal
	case err == nil && cmd.Name() == "check" && (cmd.Flags().Changed("help") || cmd.Flags().Changed("version")):
		return int(plugin.Unknown) // as the guidelines for plugins require
	case err == nil:
		return exitOK
	case done:
		return int(code)
	}
	std.sayEach(err)
	if suggestion := usage.Suggestion(root, words); suggestion != "" {
		std.say("%s", suggestion)
	}
	std.say("try '%s --help'", cmd.CommandPath())
	return exitUsage
}
