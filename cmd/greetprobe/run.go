package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"greetd.example/internal/build"
	"greetd.example/internal/plugin"
	"greetd.example/internal/usage"
)

// streams are where a command reads and writes.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// say writes one diagnostic line.
func (s streams) say(format string, args ...any) {
	fmt.Fprintf(s.err, "greetprobe: "+format+"\n", args...)
}

// failed reports whether standard output could not be written.
func (s streams) failed() bool {
	out, ok := s.out.(*usage.Output)
	return ok && out.Err != nil
}

// exitCode ends a command with that code, when all has been said.
type exitCode int

func (c exitCode) Error() string { return fmt.Sprintf("exit %d", int(c)) }

// pluginName is the name that makes greetprobe a monitoring plugin.
const pluginName = "check_greet"

// run is greetprobe called as args[0]. It returns the exit code. SIGINT and SIGTERM
// cancel what is under way; a second one kills. So does an output that can't be
// written, of which nobody would read the rest.
func run(ctx context.Context, args []string, in io.Reader, out, errs io.Writer) int {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	// Asked for, SIGPIPE no longer kills, and the write that made it fails.
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
	case err == nil && cmd.Name() == "check" && !checked(cmd.Flags()):
		return int(plugin.Unknown)
	case err == nil:
		return exitOK
	case done:
		return int(code)
	}
	for line := range strings.Lines(err.Error()) {
		std.say("%s", strings.TrimSuffix(line, "\n"))
	}
	if suggestion := usage.Suggestion(root, words); suggestion != "" {
		std.say("%s", suggestion)
	}
	std.say("try '%s --help'", cmd.CommandPath())
	return exitUsage
}

// checked reports whether the plugin checked anything. Its guidelines want UNKNOWN
// for help and version.
func checked(flags *pflag.FlagSet) bool {
	return !flags.Changed("help") && !flags.Changed("version")
}

// printVersion makes cmd print its name and version with -V.
func printVersion(cmd *cobra.Command, name string) {
	cmd.Flags().BoolP("version", "V", false, "print the version")
	cmd.Version = build.Read().Version
	cmd.SetVersionTemplate(name + " {{.Version}}\n")
}
