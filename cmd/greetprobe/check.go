package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"greetd.example/internal/plugin"
	"greetd.example/pkg/probe"
)

// service begins the status line of the plugin.
const service = "GREET"

type checkFlags struct {
	probeFlags
	hosts, ports       []string
	warn, crit         plugin.Range
	mismatch, refused  plugin.Choice
	days               string
	warnDays, critDays plugin.Range // of days, for days
	all, refusedSet    bool         // --all was given; --refuse was given
}

func newCheck(ctx context.Context, std streams) *cobra.Command {
	var f checkFlags
	cmd := &cobra.Command{
		Use:   "check [flags] -H HOST -p PORT",
		Short: "Check as a monitoring plugin (also when called as " + pluginName + ")",
		Long: `Check is a plugin for Nagios, Icinga and similar systems: one status line with
performance data for each phase; exit 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN.
With several targets the worst state counts: CRITICAL, WARNING, UNKNOWN, OK. A
RANGE is [@]start:end in seconds: 0.5 alerts above it, 0.1:2 outside, @0:1
inside, ~:2 has no lower end, 2: no upper end.`,
		Example: `  check_greet -H mail.example -p smtp -e 220 -w 0.5 -c 2
  check_greet -H mx1 -H mx2 -p 25 -p 587 -e 220 -A -e ESMTP
  check_greet -H mail.example -p 25 --starttls smtp -D 30,14
  greetprobe check -v localhost:10000 unix:/run/greet.sock`,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.run(ctx, cmd.Flags(), args, std)
		},
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return misused(std, err) })
	f.register(cmd)
	return cmd
}

func (f *checkFlags) register(cmd *cobra.Command) {
	f.mismatch, f.refused = plugin.Choice(plugin.Warning), plugin.Choice(plugin.Critical)
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringArrayVarP(&f.hosts, "hostname", "H", nil, "`HOST` or address, or /path of a unix socket; repeatable")
	flags.StringArrayVarP(&f.ports, "port", "p", nil, "`PORT` number or service, of each host; repeatable")
	flags.VarP(&f.warn, "warning", "w", "WARNING if the total time is not in `RANGE`")
	flags.VarP(&f.crit, "critical", "c", "CRITICAL if the total time is not in `RANGE`")
	flags.VarP(&f.mismatch, "mismatch", "M", "state if the greeting is not as expected")
	flags.VarP(&f.refused, "refuse", "r", "state if the connection is refused")
	flags.StringVarP(&f.days, "certificate", "D", "", "days the certificate must be valid for: `WARN[,CRIT]`")
	flags.BoolVar(&f.all, "all", false, "check every address; refused is WARNING if others greet")
	printVersion(cmd, pluginName)
	f.probeFlags.register(cmd)
	f.takeSeconds(flags)
	complete(cmd, "mismatch", "ok", "warn", "crit")
	complete(cmd, "refuse", "ok", "warn", "crit")
}

// misused ends a check with wrong arguments. err has the problems.
func misused(std streams, err error) error {
	return unknown(std, strings.ReplaceAll(err.Error(), "\n", "; ")+"; see "+pluginName+" --help")
}

// unknown ends a check without a result. It prints the reason to standard output, since a monitoring system
// reads nothing else.
func unknown(std streams, why string) error {
	fmt.Fprint(std.out, &plugin.Report{Service: service, State: plugin.Unknown, Text: why})
	return exitCode(plugin.Unknown)
}

// seconds is the value of a flag with a duration. A number without a unit means seconds.
type seconds time.Duration

func (s *seconds) Set(text string) error {
	if n, err := strconv.ParseFloat(text, 64); err == nil && n < math.MaxInt32 {
		*s = seconds(n * float64(time.Second))
		return nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return fmt.Errorf("%q is not a duration: write seconds, or a unit as in 500ms", text)
	}
	*s = seconds(d)
	return nil
}

func (s *seconds) String() string { return time.Duration(*s).String() }

func (*seconds) Type() string { return "duration" }

// takeSeconds makes the timeout flags accept a number of seconds without a unit, as other plugins do.
func (f *checkFlags) takeSeconds(flags *pflag.FlagSet) {
	for name, to := range map[string]*time.Duration{
		"timeout": &f.settings.Total, "connect-timeout": &f.settings.Connect, "read-timeout": &f.settings.Read, "idle": &f.settings.Idle,
	} {
		flags.Lookup(name).Value = (*seconds)(to)
	}
}

func (f *checkFlags) run(ctx context.Context, flags *pflag.FlagSet, args []string, std streams) error {
	p, errProbe := f.probe(flags)
	targets, errTargets := f.targets(args)
	if err := errors.Join(errProbe, f.setDays(flags), errTargets); err != nil {
		return misused(std, err)
	}
	f.refusedSet = flags.Changed("refuse")
	many := probe.Many{Do: func(ctx context.Context, t probe.Target) []probe.Result {
		return []probe.Result{p.Do(ctx, t)}
	}}
	if f.all {
		many.All = p
	}
	probed := make([][]probe.Result, len(targets)) // by target, then by address
	many.Run(ctx, slices.Values(targets), func(r probe.Result) {
		i := slices.IndexFunc(targets, func(t probe.Target) bool { return t == r.Target || t == r.Target.Name() })
		probed[i] = append(probed[i], r)
	})
	if ctx.Err() != nil {
		return unknown(std, "interrupted")
	}
	var results []checkResult
	for _, addresses := range probed {
		greets := slices.ContainsFunc(addresses, func(r probe.Result) bool { return r.Status == probe.OK })
		for _, r := range addresses {
			results = append(results, f.classify(r, greets, time.Now()))
		}
	}
	report := f.report(results)
	fmt.Fprint(std.out, report)
	return exitWith(int(report.State))
}

// targets returns each host with each port, and the targets of the arguments. Each target is returned once.
func (f *checkFlags) targets(args []string) ([]probe.Target, error) {
	given, err := argTargets(args)
	errs := []error{err}
	var targets []probe.Target
	add := func(t probe.Target, err error) {
		if errs = append(errs, err); !slices.Contains(targets, t) {
			targets = append(targets, t)
		}
	}
	for _, t := range given {
		add(t, nil)
	}
	for _, host := range f.hosts {
		if strings.HasPrefix(host, "/") {
			add(probe.ParseTarget("unix:" + host))
			continue
		}
		if len(f.ports) == 0 {
			errs = append(errs, fmt.Errorf("-H %s has no port: write -p PORT", host))
		}
		for _, port := range f.ports {
			add(probe.JoinTarget(host, port))
		}
	}
	switch {
	case len(f.ports) > 0 && len(f.hosts) == 0:
		errs = append(errs, errors.New("-p needs a host: write -H HOST"))
	case len(args) == 0 && len(f.hosts) == 0:
		errs = append(errs, errors.New("no target: write -H HOST -p PORT"))
	}
	return targets, errors.Join(errs...)
}

func (f *checkFlags) setDays(flags *pflag.FlagSet) error {
	if !flags.Changed("certificate") {
		return nil
	}
	if !f.secure() {
		return errors.New("-D needs a certificate: write --tls or --starttls PROTOCOL")
	}
	first, second, both := strings.Cut(f.days, ",")
	if !both {
		second = "0"
	}
	warn, errWarn := strconv.ParseUint(first, 10, 16)
	crit, errCrit := strconv.ParseUint(second, 10, 16)
	if errWarn != nil || errCrit != nil {
		return fmt.Errorf("-D %q: write WARN or WARN,CRIT in whole days", f.days)
	}
	if crit > warn {
		return fmt.Errorf("-D %s: %d days would be CRITICAL before they are WARNING", f.days, crit)
	}
	return errors.Join(f.warnDays.Set(first+":"), f.critDays.Set(second+":"))
}
