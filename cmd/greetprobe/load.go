package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"greetd.example/internal/openloop"
	"greetd.example/pkg/probe"
)

// maxRate is the maximum of --rate, in probes a second. It is far above the rate that one machine can reach.
const maxRate = 1e6

type loadFlags struct {
	probeFlags
	rate        float64
	duration    time.Duration
	arrivals    string
	seed        uint64
	maxInflight int
	rst         bool
	hdr         string
	output      string
	plot        bool
}

func newLoad(ctx context.Context, std streams) *cobra.Command {
	var f loadFlags
	cmd := &cobra.Command{
		Use:   "load [flags] --rate N TARGET",
		Short: "Probe at a fixed rate, and report how long greetings take at that rate",
		Long: `Load starts probes at fixed times, whether or not earlier probes have ended (an
open loop). Therefore a stall of the server shows in the results. "from due" is
counted from the time when a probe should have started: this is what a client of
the server would see. "from start" is counted from the time when it started. The
name is resolved once.`,
		Example: `  greetprobe load --rate 50 localhost:10000                  for 30 s
  greetprobe load --rate 2000 -d 1m --rst localhost:10000    leaves no TIME_WAIT
  greetprobe load --rate 5000 -S 127.0.0.0/24 localhost 10000
  greetprobe load --rate 50 --arrivals poisson --plot mail:25
  greetprobe load --rate 50 --hdr mail.hgrm -o json mail:25`,
		ValidArgsFunction: completePort,
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.run(ctx, cmd.Flags(), args, std)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.Float64Var(&f.rate, "rate", 0, "start `N` probes a second")
	flags.DurationVarP(&f.duration, "duration", "d", 30*time.Second, "how long to start probes")
	flags.StringVar(&f.arrivals, "arrivals", "constant", "`WHEN` probes start: constant, or at random: poisson")
	flags.Uint64Var(&f.seed, "seed", 0, "repeat the random times of a run of poisson with seed `N`")
	flags.IntVar(&f.maxInflight, "max-inflight", 1000, "at most `N` probes at once; others wait (counted as latency)")
	flags.BoolVar(&f.rst, "rst", false, "hang up with a reset, which leaves no socket in TIME_WAIT")
	flags.StringVar(&f.hdr, "hdr", "", "write percentiles, or the log NAME.hlog, for HdrHistogram")
	flags.StringVarP(&f.output, "output", "o", "text", "`FORM` text or json")
	flags.BoolVar(&f.plot, "plot", false, "draw a chart of the latencies at the end, on a terminal")
	f.register(cmd)
	flags.Lookup("verbose").Usage = "describe the slowest greeting"
	flags.Lookup("source").Usage = "local `ADDR`ess to connect from, or a network, in turn"
	complete(cmd, "arrivals", "constant", "poisson")
	complete(cmd, "output", "text", "json")
	return cmd
}

func (f *loadFlags) run(ctx context.Context, flags *pflag.FlagSet, args []string, std streams) error {
	l, err := f.load(flags, f.check(flags), args, std)
	if err != nil {
		return err
	}
	if f.arrivals == "poisson" && !flags.Changed("seed") {
		f.seed = uint64(rand.Uint32()) // 32 bits, short enough to type it again
	}
	return l.run(ctx)
}

// load returns the load for the flags and the arguments of a command. The error joins err with all their problems.
func (f *loadFlags) load(flags *pflag.FlagSet, err error, args []string, std streams) (load, error) {
	sources, errSource := f.sources()
	p, errProbe := f.probe(flags)
	target, errTarget := oneTarget(args)
	if err := errors.Join(err, errSource, errProbe, errTarget); err != nil {
		return load{}, err
	}
	if f.rst {
		p.HangUp = probe.Abruptly
	}
	return load{loadFlags: f, streams: std, probe: *p, target: target, sources: sources}, nil
}

func (f *loadFlags) check(flags *pflag.FlagSet) error {
	var errs flagErrors
	rated := flags.Changed("rate")
	errs.refuse(!rated, "no rate: write --rate N, in probes a second")
	errs.refuse(rated && !(f.rate > 0 && f.rate <= maxRate), "--rate %v: must be more than 0, and at most %d a second", f.rate, int(maxRate))
	errs.refuse(f.duration <= 0, "--duration %s: must be more than 0", f.duration)
	errs.refuse(f.arrivals != "constant" && f.arrivals != "poisson", "--arrivals %s: there are constant and poisson", f.arrivals)
	errs.refuse(flags.Changed("seed") && f.arrivals != "poisson", "--seed is for --arrivals poisson")
	errs.refuse(f.maxInflight < 1, "--max-inflight %d: must be at least 1", f.maxInflight)
	errs.refuse(f.plot && f.output != "text", "--plot is for text, not for --output %s", f.output)
	errs.checkForm(f.output)
	return errors.Join(errs...)
}

// sources returns the network of --source. It returns the zero value if --source is no network.
func (f *loadFlags) sources() (spread, error) {
	if !strings.Contains(f.source, "/") {
		return spread{}, nil
	}
	f.network = true
	s, err := parseSpread(f.source)
	if err != nil {
		return spread{}, fmt.Errorf("--source %w", err)
	}
	return s, nil
}

// schedule returns the times at which probes are due, from the start.
func (f *loadFlags) schedule() iter.Seq[time.Duration] {
	due := openloop.Constant(f.rate)
	if f.arrivals == "poisson" {
		due = openloop.Poisson(f.rate, f.seed)
	}
	return openloop.Before(f.duration, due)
}

// A load is a load in progress.
type load struct {
	*loadFlags
	streams
	probe   probe.Probe
	target  probe.Target
	sources spread // addresses to connect from; if its count is 0, the source is that of probe
	tally   *tally
}

func (l *load) run(ctx context.Context) error {
	if err := l.resolve(ctx); err != nil {
		if ctx.Err() != nil {
			return exitCode(exitCanceled)
		}
		l.say("%s: %s", safe(l.target.String()), safe(err.Error()))
		return exitCode(exitTimeout)
	}
	hdr, err := createHDR(l.hdr)
	if err != nil {
		return l.fail(err, exitLocal)
	}
	start := time.Now()
	l.tally = newTally(newCourse(start, hdr.log()))
	series := openloop.Runner{Due: l.schedule(), Do: l.request, MaxInflight: l.maxInflight, End: l.duration}

	var line *progressLine
	if l.animated() && l.output == "text" {
		line = &progressLine{streams: l.streams}
		line.show(time.Second, func(since time.Duration) string { return l.tally.progress(since, l.duration) })
	}
	due := series.Run(ctx)
	line.end()

	took := l.duration
	if ctx.Err() != nil {
		took = min(time.Since(start), took)
	}
	l.tally.course.finish(took)
	report := l.tally.report(l.loadFlags, l.target.String(), start, took, due, ctx.Err() != nil)
	l.print(report)
	if l.verbose > 0 && report.Outcomes[probe.OK] > 0 {
		explain(l.err, l.tally.slowest)
	}
	if err := hdr.finish(l.tally); err != nil {
		l.say("%s", err)
		report.Exit = max(report.Exit, exitLocal)
	}
	return exitWith(report.Exit)
}

// resolve resolves the name of the target once for all probes.
func (l *load) resolve(ctx context.Context) error {
	if l.sources.count > 0 {
		l.probe.Source = l.sources.at(0)
	}
	addrs, err := l.probe.Addresses(ctx, l.target)
	if err != nil {
		return err
	}
	l.probe.Resolve = func(_ context.Context, network, _ string) ([]netip.Addr, error) {
		other := func(addr netip.Addr) bool { return addr.Is4() != (network == "ip4") }
		return slices.DeleteFunc(slices.Clone(addrs), other), nil
	}
	return nil
}

func (l *load) request(ctx context.Context, s openloop.Request) {
	l.tally.start(s)
	r := l.do(ctx, s)
	l.tally.end(s, &r, s.Started.Add(r.Timing.Total)) // the time until the greeting: closing the connection does not count
}

// do makes one probe, from the address whose turn it is.
func (l *load) do(ctx context.Context, s openloop.Request) probe.Result {
	p := l.probe
	if l.sources.count > 0 {
		p.Source = l.sources.at(s.Seq)
	}
	return p.Do(ctx, l.target)
}

func (l *load) print(r *loadReport) {
	if l.output == "json" {
		writeJSON(l.out, r)
		return
	}
	r.print(l.out)
	switch {
	case l.plot && !l.terminals():
		l.say("--plot draws on a terminal only")
	case l.plot && len(l.tally.course.p99) > 0:
		l.draw()
	}
}

func (l *load) draw() {
	on, course := screenOf(l.out), l.tally.course.p99
	fmt.Fprint(l.out, "\n", overTime(stretch(course, on.curve()), float64(len(course)),
		"ms from due in each second, 99 of 100 were faster; x: no greeting").draw(on))
	if l.tally.latency.TotalCount() > 0 {
		fmt.Fprint(l.out, "\n", percentiles(l.tally.latency, on.curve()).draw(on))
	}
}
