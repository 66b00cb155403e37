package main

import (
	"context"
	_ "embed" // for help.txt
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"greetd.example/internal/usage"
	"greetd.example/pkg/probe"
)

// help fits a screen of 24 lines and 80 columns. It has the purpose, examples, and then the rest.
//
//go:embed help.txt
var help string

type rootFlags struct {
	probeFlags
	all      bool
	mx, srv  bool
	file     string
	output   string
	parallel int
	quiet    bool
	raw      bool
	textfile string
	label    []string
	labels   []string // of --label, in the form that metrics need
	wait     time.Duration
	command  []string // command to run when --wait has succeeded; empty if there is none
}

func newRoot(ctx context.Context, std streams) *cobra.Command {
	var f rootFlags
	cmd := &cobra.Command{
		Use:               "greetprobe [flags] HOST PORT | TARGET... | -f FILE [-- COMMAND]",
		Short:             "Probe servers that send a greeting when a client connects",
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: completePort,
		SilenceErrors:     true,
		SilenceUsage:      true,
		RunE: func(cmd *cobra.Command, args []string) error {
			args = f.takeCommand(args, cmd.ArgsLenAtDash())
			return f.run(ctx, cmd.Flags(), args, std)
		},
	}
	cmd.CompletionOptions.HiddenDefaultCmd = true
	f.register(cmd)
	flags := cmd.Flags()
	flags.BoolVar(&f.all, "all", false, "probe every address of each name")
	flags.BoolVar(&f.mx, "mx", false, "TARGET is a domain: probe each of its mail servers")
	flags.BoolVar(&f.srv, "srv", false, "TARGET is _SERVICE._tcp.DOMAIN: probe each of its servers")
	flags.StringVarP(&f.file, "file", "f", "", "read targets from `FILE`, one a line; -: standard input")
	flags.StringVarP(&f.output, "output", "o", "text", "`FORM` text, json or prom")
	flags.IntVarP(&f.parallel, "parallel", "P", probe.DefaultParallel, "targets at once")
	flags.BoolVar(&f.quiet, "quiet", false, "print only errors, not the greetings")
	flags.BoolVar(&f.raw, "raw", false, "print greetings as received, without escapes")
	flags.StringVar(&f.textfile, "textfile", "", "write metrics to `FILE` for node_exporter")
	flags.StringArrayVar(&f.label, "label", nil, "give all metrics the label `NAME=VALUE`; repeatable")
	flags.DurationVar(&f.wait, "wait", 0, "retry until OK, for at most this long; then run COMMAND")
	printVersion(cmd, "greetprobe")
	complete(cmd, "output", "text", "json", "prom")
	cmd.AddCommand(newCheck(ctx, std), newPing(ctx, std), newLoad(ctx, std), newDrill(ctx, std), newServe(ctx, std), newVersion(std))
	for _, c := range append(cmd.Commands(), cmd) {
		completeNothing(c)
	}
	cmd.SetOut(std.out) // must be set now, for the completion of cobra
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

func (f *rootFlags) run(ctx context.Context, flags *pflag.FlagSet, args []string, std streams) error {
	p, err := f.probe(flags)
	targets, errTargets := f.targets(args, std.in)
	if errTargets != nil && f.quit != "" {
		errTargets = errors.Join(errTargets, fmt.Errorf("-q took %q as the TEXT to send: for no output, write --quiet", f.quit))
	}
	if err := errors.Join(err, f.check(flags), errTargets); err != nil {
		return err
	}
	targets = f.expand(ctx, p, targets)
	out := newOutput(f, std)
	if !f.quiet {
		out.line = newProgressLine(std, len(targets), f.all)
	}
	many := probe.Many{Do: f.method(p, out), Parallel: f.parallel, Lowered: func(n int) {
		defer out.line.aside()()
		std.say("descriptors are enough for %[1]d targets at once: reducing parallelism to %[1]d (raise ulimit -n for more)", n)
	}}
	if f.all {
		many.All = p
	}
	many.Run(ctx, out.readable(targets), out.result)
	out.line.end()
	if ctx.Err() != nil {
		if !std.failed() {
			std.say("interrupted: %d of %d targets probed", out.count, len(targets))
		}
		return exitCode(exitCanceled)
	}
	if err := out.end(); err != nil || len(f.command) == 0 || std.failed() {
		return err
	}
	return become(f.command, std)
}

// takeCommand stores the arguments after -- as the command, and returns the arguments before it. dash is the number of
// arguments before --; it is negative if there is no --. Without a target before it, -- only ends the flags.
func (f *rootFlags) takeCommand(args []string, dash int) []string {
	if dash < 0 || dash == 0 && f.file == "" {
		return args
	}
	f.command = args[dash:]
	return args[:dash]
}

func (f *rootFlags) method(p *probe.Probe, out *output) func(context.Context, probe.Target) []probe.Result {
	return func(ctx context.Context, t probe.Target) []probe.Result {
		if f.wait > 0 {
			return []probe.Result{p.Wait(ctx, t, f.wait, out.try)}
		}
		return []probe.Result{p.Do(ctx, t)}
	}
}

func (f *rootFlags) check(flags *pflag.FlagSet) error {
	var errs flagErrors
	errs.refuse(f.parallel < 1, "--parallel %d: must be at least 1", f.parallel)
	errs.refuse(flags.Changed("wait") && f.wait <= 0, "--wait %s: must be more than 0", f.wait)
	if len(f.command) > 0 {
		errs.refuse(f.wait <= 0, "-- %s: a COMMAND needs --wait DURATION before it", f.command[0])
		errs.refuse(f.command[0] == "", "-- COMMAND: its name is empty")
	}
	errs.refuse(f.mx && f.srv, "--mx and --srv exclude each other")
	errs.refuse(f.wait > 0 && f.all, "--wait and --all exclude each other")
	errs.refuse(!slices.Contains([]string{"text", "json", "prom"}, f.output), "--output %s: the formats are text, json and prom", f.output)
	errs.refuse(len(f.label) > 0 && f.output != "prom" && f.textfile == "", "--label is for metrics: it needs --output prom or --textfile")
	var errLabels error
	f.labels, errLabels = parseLabels(f.label)
	errs = append(errs, errLabels)
	errs.refuse(f.raw && f.output != "text", "--raw is for text, not for --output %s", f.output)
	return errors.Join(errs...)
}

var errNoTarget = errors.New("no target: write HOST PORT or HOST:PORT")

const smtpPort = "25"
