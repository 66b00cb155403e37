package main

import (
	"cmp"
	"context"
	_ "embed" // for help.txt
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"

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

// completePort completes PORT of HOST PORT. It can't complete HOST.
func completePort(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) != 1 || strings.Contains(args[0], ":") {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return []cobra.Completion{"ftp", "ssh", "smtp", "pop3", "imap2", "submission", "mysql", "10000"}, cobra.ShellCompDirectiveNoFileComp
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

func (f *rootFlags) targets(args []string, in io.Reader) ([]entry, error) {
	targets, errArgs := f.argEntries(args)
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

func (f *rootFlags) argEntries(args []string) (entries []entry, err error) {
	if f.mx || f.srv {
		var errs []error
		for _, arg := range args {
			e, err := f.domain(arg)
			entries, errs = append(entries, e), append(errs, err)
		}
		return entries, errors.Join(errs...)
	}
	targets, err := argTargets(args)
	for _, target := range targets {
		entries = append(entries, entry{target: target})
	}
	return entries, err
}

const smtpPort = "25"

// domain returns the entry for DOMAIN or, with --mx, DOMAIN:PORT. Its servers are found later, by expand.
func (f *rootFlags) domain(word string) (entry, error) {
	if strings.HasPrefix(word, "[") || strings.Count(word, ":") > 1 {
		return entry{}, fmt.Errorf("%q is an address, and has no records: write a domain", word)
	}
	host, port, both := strings.Cut(word, ":")
	if both && f.srv {
		return entry{}, fmt.Errorf("%q: the SRV record has the port: write _SERVICE._tcp.DOMAIN", word)
	}
	target, err := probe.JoinTarget(host, cmp.Or(port, smtpPort))
	if err == nil && target.Addr.IsValid() {
		err = fmt.Errorf("%q is an address, and has no records: write a domain", word)
	}
	return entry{target: target, find: true}, err
}

// expand replaces each entry with a domain or service by the entries of its servers.
func (f *rootFlags) expand(ctx context.Context, p *probe.Probe, entries []entry) []entry {
	found := make([][]entry, len(entries))
	var finding errgroup.Group
	finding.SetLimit(f.parallel)
	for i, e := range entries {
		if !e.find {
			found[i] = []entry{e}
			continue
		}
		finding.Go(func() error {
			found[i] = f.servers(ctx, p, e.target)
			return nil
		})
	}
	_ = finding.Wait() // the functions return no errors
	return slices.Concat(found...)
}

// servers returns the entries of the servers of a domain or service. Problems are entries with an error.
func (f *rootFlags) servers(ctx context.Context, p *probe.Probe, domain probe.Target) (servers []entry) {
	var targets []probe.Target
	var err error
	if f.mx {
		targets, err = p.MX(ctx, domain.Host, domain.Port)
	} else {
		targets, err = p.SRV(ctx, domain.Host)
	}
	for _, target := range targets {
		servers = append(servers, entry{target: target})
	}
	if err == nil {
		return servers
	}
	for line := range strings.Lines(err.Error()) {
		bad := errors.New(strings.TrimSuffix(line, "\n"))
		servers = append(servers, entry{target: probe.Target{Host: domain.Host}, err: bad, find: true})
	}
	return servers
}

// argTargets returns the targets of the arguments: HOST PORT, or any number of targets.
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

// isPort reports whether two arguments are HOST PORT, and not two targets.
func isPort(host, port string) bool {
	return !strings.Contains(port, ":") && !strings.HasPrefix(host, "unix:")
}

func (f *rootFlags) fromFile(in io.Reader) ([]entry, error) {
	switch f.file {
	case "":
		return nil, nil
	case "-":
		return f.readTargets(in, "standard input")
	}
	file, err := os.Open(f.file)
	if err != nil {
		return nil, fmt.Errorf("read targets: %w", err)
	}
	defer file.Close()
	return f.readTargets(file, f.file)
}

// An entry is a target, or the error because of which there is none.
type entry struct {
	target probe.Target
	err    error
	find   bool // target is a domain or service, whose servers must still be found
}

func (e entry) result() probe.Result {
	r := probe.Result{
		Time: time.Now(), Target: e.target, Status: probe.InvalidTarget, Phase: probe.PhaseResolve, Err: e.err,
	}
	if e.find {
		r.Status = probe.ResolveFailed
	}
	return r
}

const maxLine = 4096

// readTargets reads one target from each line, as HOST:PORT or HOST PORT. A # at the beginning of a line or after white
// space begins a comment. A line that is not valid becomes an entry with an error.
func (f *rootFlags) readTargets(from io.Reader, name string) ([]entry, error) {
	text, err := io.ReadAll(from)
	if err != nil {
		return nil, fmt.Errorf("read targets: %s: %w", name, bare(err))
	}
	var entries []entry
	n := 0
	for line := range strings.Lines(strings.TrimPrefix(string(text), "\ufeff")) { // without a byte order mark
		n++
		e, err := f.readLine(strings.TrimRight(line, "\r\n"))
		switch {
		case err != nil:
			shown := probe.Target{Host: clip(strings.TrimSpace(line))}
			entries = append(entries, entry{target: shown, err: fmt.Errorf("%s:%d: %s", name, n, clip(err.Error()))})
		case e != entry{}:
			entries = append(entries, e)
		}
	}
	return entries, nil
}

// readLine returns the entry in line. It returns the zero value if there is none.
func (f *rootFlags) readLine(line string) (e entry, err error) {
	var words []string
	for word := range strings.FieldsSeq(line) {
		if strings.HasPrefix(word, "#") {
			break
		}
		words = append(words, word)
	}
	switch {
	case strings.HasPrefix(line, "\xff\xfe"), strings.HasPrefix(line, "\xfe\xff"):
		err = errors.New("the text is UTF-16: save it as UTF-8")
	case len(line) > maxLine:
		err = fmt.Errorf("the line is longer than %d bytes", maxLine)
	case len(words) == 0:
	case len(words) == 1, len(words) == 2 && !f.mx && !f.srv && isPort(words[0], words[1]):
		entries, err := f.argEntries(words)
		return entries[0], err
	default:
		err = fmt.Errorf("%q: one target a line", clip(line))
	}
	return e, err
}

// maxShown is the maximum number of bytes of text from outside in a message.
const maxShown = 200

// clip shortens text to maxShown, for a message.
func clip(text string) string {
	if len(text) <= maxShown {
		return text
	}
	return strings.ToValidUTF8(text[:maxShown], "") + "..."
}
