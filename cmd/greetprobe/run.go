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

	"greetd.example/internal/build"
	"greetd.example/internal/plugin"
	"greetd.example/internal/usage"
)

type streams struct {
	in       io.Reader
	out, err io.Writer
}

func (s streams) say(format string, args ...any) {
	fmt.Fprintf(s.err, "greetprobe: "+format+"\n", args...)
}

// sayEach writes each line of err as a diagnostic line.
func (s streams) sayEach(err error) {
	for line := range strings.Lines(err.Error()) {
		s.say("%s", strings.TrimSuffix(line, "\n"))
	}
}

// fail ends a command because of err.
func (s streams) fail(err error, code int) error {
	s.sayEach(err)
	return exitCode(code)
}

// failed reports whether standard output could not be written.
func (s streams) failed() bool {
	out, ok := s.out.(*usage.Output)
	return ok && out.Err != nil
}

// exitCode is an error that ends a command with this exit code. No message is printed for it.
type exitCode int

func (c exitCode) Error() string { return fmt.Sprintf("exit %d", int(c)) }

// exitWith returns code as an error; nil for exitOK.
func exitWith(code int) error {
	if code == exitOK {
		return nil
	}
	return exitCode(code)
}

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

// printVersion adds the flag -V to cmd, which prints its name and version.
func printVersion(cmd *cobra.Command, name string) {
	cmd.Flags().BoolP("version", "V", false, "print the version")
	cmd.Version = build.Read().Version
	cmd.SetVersionTemplate(name + " {{.Version}}\n")
}

func newVersion(std streams) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version, as --version does",
		Example: "  greetprobe version",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			fmt.Fprintf(std.out, "greetprobe %s\n", build.Read().Version)
			return nil
		},
	}
}
