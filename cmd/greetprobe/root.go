package main

import (
	"bufio"
	"context"
	_ "embed" // the help
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"greetd.example/internal/usage"
	"greetd.example/pkg/probe"
)

// help fits a screen of 24 lines and 80 columns: what it is for, examples, the rest.
//
//go:embed help.txt
var help string

// rootFlags are those of the default command alone.
type rootFlags struct {
	probeFlags
	all      bool
	file     string
	output   string
	parallel int
	quiet    bool
	raw      bool
	textfile string
	wait     time.Duration
}

func newRoot(ctx context.Context, std streams) *cobra.Command {
	var f rootFlags
	cmd := &cobra.Command{
		Use:               "greetprobe [flags] HOST PORT | TARGET... | -f FILE",
		Short:             "Ask servers that speak first what they have to say",
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: completePort,
		SilenceErrors:     true,
		SilenceUsage:      true,
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.run(ctx, cmd.Flags(), args, std)
		},
	}
	cmd.CompletionOptions.HiddenDefaultCmd = true
	f.register(cmd)
	flags := cmd.Flags()
	flags.BoolVar(&f.all, "all", false, "probe every address of each name")
	flags.StringVarP(&f.file, "file", "f", "", "read targets from `FILE`, one a line, # comments; -: standard input")
	flags.StringVarP(&f.output, "output", "o", "text", "`FORM` text, json or prom")
	flags.IntVarP(&f.parallel, "parallel", "P", probe.DefaultParallel, "targets at once")
	flags.BoolVar(&f.quiet, "quiet", false, "print no greeting, only what went wrong")
	flags.BoolVar(&f.raw, "raw", false, "print greetings as they came, unescaped")
	flags.StringVar(&f.textfile, "textfile", "", "write metrics to `FILE` for node_exporter")
	flags.DurationVar(&f.wait, "wait", 0, "retry so long, until ok")
	printVersion(cmd, "greetprobe")
	complete(cmd, "output", "text", "json", "prom")
	complete(cmd, "parallel")
	complete(cmd, "wait")
	cmd.AddCommand(newCheck(ctx, std), newPing(ctx, std), newLoad(ctx, std))
	cmd.SetOut(std.out) // which cobra's completion wants to know now
	usage.Set(cmd)
	inherited := cmd.HelpFunc()
	cmd.SetHelpFunc(func(c *cobra.Command, args []string) {
		if c != cmd {
			inherited(c, args)
			return
		}
		fmt.Fprint(std.out, help)
	})
	return cmd
}

// completePort completes the second of HOST PORT: the first is anybody's guess.
func completePort(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) != 1 || strings.Contains(args[0], ":") {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return []cobra.Completion{"ftp", "ssh", "smtp", "pop3", "imap2", "submission", "mysql", "10000"}, cobra.ShellCompDirectiveNoFileComp
}

// run probes the targets and reports on each.
func (f *rootFlags) run(ctx context.Context, flags *pflag.FlagSet, args []string, std streams) error {
	p, err := f.probe(flags)
	targets, errTargets := f.targets(args, std.in)
	if errTargets != nil && f.quit != "" {
		errTargets = errors.Join(errTargets, fmt.Errorf("-q took %q as the TEXT to send: for no output, write --quiet", f.quit))
	}
	if err := errors.Join(err, f.check(flags), errTargets); err != nil {
		return err
	}
	out := newOutput(f, std)
	many := probe.Many{Do: f.method(p, out), Parallel: f.parallel, Lowered: func(n int) {
		std.say("descriptors for %d targets at once only: going on with so many (ulimit -n allows more)", n)
	}}
	many.Run(ctx, slices.Values(targets), out.result)
	if ctx.Err() != nil {
		std.say("interrupted: %d of %d targets probed", out.count, len(targets))
		return exitCode(probe.ExitCanceled)
	}
	return out.end()
}

// method returns how to probe one target.
func (f *rootFlags) method(p *probe.Probe, out *output) func(context.Context, probe.Target) []probe.Result {
	switch {
	case f.all:
		return p.DoAll
	case f.wait > 0:
		return func(ctx context.Context, t probe.Target) []probe.Result {
			return []probe.Result{p.Wait(ctx, t, f.wait, out.try)}
		}
	default:
		return func(ctx context.Context, t probe.Target) []probe.Result {
			return []probe.Result{p.Do(ctx, t)}
		}
	}
}

// check refuses what is wrong with the flags of the default command.
func (f *rootFlags) check(flags *pflag.FlagSet) error {
	var errs []error
	if f.parallel < 1 {
		errs = append(errs, fmt.Errorf("--parallel %d: must be at least 1", f.parallel))
	}
	if flags.Changed("wait") && f.wait <= 0 {
		errs = append(errs, fmt.Errorf("--wait %s: must be more than 0", f.wait))
	}
	if f.wait > 0 && f.all {
		errs = append(errs, errors.New("--wait and --all exclude each other"))
	}
	if !slices.Contains([]string{"text", "json", "prom"}, f.output) {
		errs = append(errs, fmt.Errorf("--output %s: there are text, json and prom", f.output))
	}
	if f.raw && f.output != "text" {
		errs = append(errs, fmt.Errorf("--raw is for text, not for --output %s", f.output))
	}
	return errors.Join(errs...)
}

// targets returns all targets of the arguments and the file.
func (f *rootFlags) targets(args []string, in io.Reader) ([]probe.Target, error) {
	targets, errArgs := argTargets(args)
	more, errFile := f.fromFile(in)
	targets = append(targets, more...)
	if err := errors.Join(errArgs, errFile); err != nil || len(targets) > 0 {
		return targets, err
	}
	if f.file != "" {
		return nil, fmt.Errorf("--file %s: no target in it", f.file)
	}
	return nil, errNoTarget
}

var errNoTarget = errors.New("no target: write HOST PORT or HOST:PORT")

// argTargets reads HOST PORT, or any number of targets.
func argTargets(args []string) ([]probe.Target, error) {
	if len(args) == 2 && isPort(args[0], args[1]) {
		target, err := probe.JoinTarget(args[0], args[1])
		return []probe.Target{target}, err
	}
	var targets []probe.Target
	var errs []error
	for _, arg := range args {
		target, err := probe.ParseTarget(arg)
		targets, errs = append(targets, target), append(errs, err)
	}
	return targets, errors.Join(errs...)
}

// isPort reports whether two arguments are HOST PORT, not two targets.
func isPort(host, port string) bool {
	return !strings.Contains(port, ":") && !strings.HasPrefix(host, "unix:")
}

func (f *rootFlags) fromFile(in io.Reader) ([]probe.Target, error) {
	switch f.file {
	case "":
		return nil, nil
	case "-":
		return readTargets(in, "standard input")
	}
	file, err := os.Open(f.file)
	if err != nil {
		return nil, fmt.Errorf("read targets: %w", err)
	}
	defer file.Close()
	return readTargets(file, f.file)
}

// readTargets reads a target a line, as HOST:PORT or HOST PORT. A # at the beginning
// of a line or after white space begins a comment. The error tells all bad lines.
func readTargets(from io.Reader, name string) ([]probe.Target, error) {
	var targets []probe.Target
	var errs []error
	lines := bufio.NewScanner(from)
	for n := 1; lines.Scan(); n++ {
		target, err := readLine(lines.Text())
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("%s:%d: %w", name, n, err))
		case target != probe.Target{}:
			targets = append(targets, target)
		}
	}
	if err := lines.Err(); err != nil {
		errs = append(errs, fmt.Errorf("read targets: %s: %w", name, err))
	}
	return targets, errors.Join(errs...)
}

// readLine returns the target in line, the zero value if there is none.
func readLine(line string) (probe.Target, error) {
	var words []string
	for word := range strings.FieldsSeq(line) {
		if strings.HasPrefix(word, "#") {
			break
		}
		words = append(words, word)
	}
	switch {
	case len(words) == 0:
		return probe.Target{}, nil
	case len(words) == 1:
		return probe.ParseTarget(words[0])
	case len(words) == 2 && isPort(words[0], words[1]):
		return probe.JoinTarget(words[0], words[1])
	}
	return probe.Target{}, fmt.Errorf("%q: one target a line", line)
}
