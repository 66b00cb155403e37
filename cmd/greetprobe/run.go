package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"

	"github.com/spf13/pflag"

	"greetd.example/internal/plugin"
	"greetd.example/pkg/probe"
)

// streams are where a command reads and writes.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// An outlet remembers why its Writer failed first: what nobody could read is no
// success.
type outlet struct {
	io.Writer
	err error
}

// Write implements [io.Writer].
func (o *outlet) Write(b []byte) (int, error) {
	n, err := o.Writer.Write(b)
	o.err = cmp.Or(o.err, err)
	return n, err
}

// say writes one diagnostic line.
func (s streams) say(format string, args ...any) {
	fmt.Fprintf(s.err, "greetprobe: "+format+"\n", args...)
}

// exitCode ends a command with that code, when all has been said.
type exitCode int

func (c exitCode) Error() string { return fmt.Sprintf("exit %d", int(c)) }

// pluginName is the name that makes greetprobe a monitoring plugin.
const pluginName = "check_greet"

// run is greetprobe called as args[0]. It returns the exit code. An interrupt cancels
// what is under way; a second one kills.
func run(ctx context.Context, args []string, in io.Reader, out, errs io.Writer) int {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt)
	defer stop()
	context.AfterFunc(ctx, stop)

	outlet := &outlet{Writer: out}
	std := streams{in, outlet, errs}
	root := newRoot(ctx, std)
	root.SetIn(in)
	root.SetErr(errs)
	words := args[1:]
	if filepath.Base(args[0]) == pluginName {
		words = append([]string{"check"}, words...)
	}
	root.SetArgs(words)
	cmd, err := root.ExecuteContextC(ctx)
	code, done := errors.AsType[exitCode](err)
	switch {
	case outlet.err != nil && cmd.Name() == "check":
		std.say("%s", outlet.err)
		return int(plugin.Unknown)
	case outlet.err != nil:
		std.say("%s", outlet.err)
		return max(int(code), probe.ExitLocal)
	case err == nil && cmd.Name() == "check" && !checked(cmd.Flags()):
		return int(plugin.Unknown)
	case err == nil:
		return probe.ExitOK
	case done:
		return int(code)
	}
	for line := range strings.Lines(err.Error()) {
		std.say("%s", strings.TrimSuffix(line, "\n"))
	}
	std.say("try '%s --help'", cmd.CommandPath())
	return probe.ExitUsage
}

// checked reports whether the plugin checked anything. Its guidelines want UNKNOWN
// for help and version.
func checked(flags *pflag.FlagSet) bool {
	return !flags.Changed("help") && !flags.Changed("version")
}

// version is what -V does. Cobra would do it by a template, and text/template calls methods
// by their names, so that the linker would have to keep all that there are: 2 MB.
func (s streams) version(name string) error {
	version := "(unknown)"
	if info, ok := debug.ReadBuildInfo(); ok {
		version = cmp.Or(info.Main.Version, version)
	}
	fmt.Fprintln(s.out, name, version)
	return nil // a failed write is the outlet's to tell
}
