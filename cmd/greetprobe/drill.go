package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"greetd.example/internal/drill"
	"greetd.example/internal/openloop"
	"greetd.example/internal/words"
	"greetd.example/pkg/probe"
)

// stepTimeout is the maximum time of one step. The default timeouts of a unit are 90 s for its start and 90 s
// for its stop.
const stepTimeout = 5 * time.Minute

type drillFlags struct {
	loadFlags
	units      []string
	each       time.Duration
	restart    int
	reload     int
	kill       int
	stopStart  int
	softReboot bool
	do         []string
	times      int
	dryRun     bool
	yes        bool
	maxLost    int
}

func newDrill(ctx context.Context, std streams) *cobra.Command {
	f := drillFlags{loadFlags: loadFlags{arrivals: "constant"}}
	cmd := &cobra.Command{
		Use:   "drill [flags] --rate N [--unit UNIT] STEPS TARGET",
		Short: "Restart, reload or kill a unit under load, and count the clients that it costs",
		Long: `Drill starts probes at a fixed rate (an open loop, as load does), meanwhile
carries out the steps one after the other, and reports for each step how many
clients were served and lost, and for how long nobody was served. The steps
need root, or permission by polkit. Drill changes only the unit that you name,
and leaves it active, as it was. The text of --send is sent first, for servers
that wait for their clients, such as a web server.`,
		Example: `  greetprobe drill --unit greetd.service --rate 9 --restart 3 -y localhost:10000
  greetprobe drill --unit nginx.service --rate 2000 --restart 10 --reload 10 \
    --kill 3 -s 'GET / HTTP/1.0\r\n\r\n' -e 200 localhost:80
  greetprobe drill --rate 500 --each 2s --do 'docker restart web' localhost:8080
  greetprobe drill --unit ssh.service --rate 9 --kill 1 --dry-run localhost:22`,
		ValidArgsFunction: completePort,
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.run(ctx, cmd.Flags(), args, std)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringArrayVar(&f.units, "unit", nil, "the `UNIT` of systemd that the steps are about")
	flags.IntVar(&f.restart, "restart", 0, "restart it `N` times")
	flags.IntVar(&f.reload, "reload", 0, "reload it `N` times")
	flags.IntVar(&f.kill, "kill", 0, "kill its main process `N` times, by SIGKILL")
	flags.IntVar(&f.stopStart, "stop-start", 0, "stop it and start it again `N` times")
	flags.BoolVar(&f.softReboot, "soft-reboot", false, "soft-reboot this machine, once")
	flags.StringArrayVar(&f.do, "do", nil, "run `COMMAND` by the shell, --times times; repeatable")
	flags.IntVar(&f.times, "times", 10, "how often each --do runs")
	flags.DurationVar(&f.each, "each", time.Second, "pause before the first step, and after each one")
	flags.Float64Var(&f.rate, "rate", 0, "start `N` probes a second")
	flags.IntVar(&f.maxInflight, "max-inflight", 8000, "at most `N` probes at once; others wait, up to 1s (latency)")
	flags.IntVar(&f.maxLost, "max-lost", -1, "exit with 4 if more than `N` clients are lost; -1: never")
	flags.BoolVar(&f.dryRun, "dry-run", false, "print what would be done, and do nothing")
	flags.BoolVarP(&f.yes, "yes", "y", false, "do not ask before the first step")
	flags.BoolVar(&f.rst, "rst", true, "hang up with a reset, which leaves no socket in TIME_WAIT")
	flags.StringVarP(&f.output, "output", "o", "text", "`FORM` text or json")
	f.register(cmd)
	flags.Lookup("source").Usage = "local `ADDR`ess to connect from, or a network, in turn"
	complete(cmd, "output", "text", "json")
	return cmd
}

// A step is one action on the server, such as a restart.
type step struct {
	name string
	do   func(*drill.Unit, context.Context) error
}

func (f *drillFlags) steps() (all []step) {
	add := func(n int, name string, do func(*drill.Unit, context.Context) error) {
		for range n {
			all = append(all, step{name, do})
		}
	}
	add(f.restart, "restart", (*drill.Unit).Restart)
	add(f.reload, "reload", (*drill.Unit).Reload)
	add(f.kill, "kill", (*drill.Unit).Kill)
	add(f.stopStart, "stop-start", (*drill.Unit).StopStart)
	if f.softReboot {
		add(1, "soft-reboot", (*drill.Unit).SoftReboot)
	}
	for _, command := range f.do {
		add(f.times, command, func(_ *drill.Unit, ctx context.Context) error { return drill.Command(ctx, command) })
	}
	return all
}

func (f *drillFlags) run(ctx context.Context, flags *pflag.FlagSet, args []string, std streams) error {
	f.duration = math.MaxInt64 // until the last step is over
	f.settings.SendFirst = f.send != ""
	l, err := f.load(flags, f.check(flags), args, std)
	if err != nil {
		return err
	}
	d := &drilling{drillFlags: f, streams: std, load: l}
	if f.dryRun {
		fmt.Fprint(std.out, d.plan())
		return nil
	}
	if err := d.consent(); err != nil {
		return err
	}
	return d.run(ctx)
}

func (f *drillFlags) check(flags *pflag.FlagSet) error {
	var errs flagErrors
	for _, name := range []string{"restart", "reload", "kill", "stop-start", "times"} {
		n, err := flags.GetInt(name)
		errs.refuse(err != nil || n < 0, "--%s %d: must not be negative", name, n)
	}
	ofUnit := f.restart+f.reload+f.kill+f.stopStart > 0 || f.softReboot
	errs.refuse(!ofUnit && len(f.do) == 0, "no steps: write --restart N, --reload N, --kill N, --stop-start N, --soft-reboot or --do COMMAND")
	errs.refuse(ofUnit && f.unit() == "", "no unit: write --unit UNIT, such as nginx.service")
	errs.refuse(f.unit() != "" && !strings.Contains(f.unit(), "."), "--unit %s: write the whole name, such as %[1]s.service", f.unit())
	errs.refuse(len(f.units) > 1, "--unit %s: drill restarts one unit; for several ones, run it once for each", strings.Join(f.units, " --unit "))
	errs.refuse(f.kill > 0 && f.unit() != "" && !strings.HasSuffix(f.unit(), ".service"), "--kill needs a service, which %s is not", f.unit())
	errs.refuse(slices.ContainsFunc(f.do, func(command string) bool { return strings.TrimSpace(command) == "" }), "--do: the COMMAND is empty")
	errs.refuse(len(f.do) > 0 && f.times == 0, "--times 0: no --do would run")
	errs.refuse(f.each < 0, "--each %s: must not be negative", f.each)
	errs.refuse(f.maxLost < -1, "--max-lost %d: must be 0 or more, or -1 for no limit", f.maxLost)
	return errors.Join(append(errs, f.loadFlags.check(flags))...)
}

// A drilling is a drill in progress.
type drilling struct {
	*drillFlags
	streams
	load       load // has the target, the sources and the probe; its tally is nil
	record     drill.Record
	steps      []stepResult
	begin      time.Time
	end        atomic.Pointer[time.Time] // end of the schedule; nil while it is not known
	due        int                       // number of clients that were due; valid when all have ended
	unrestored bool                      // the unit was not restored to its state before the drill
}

// A stepResult is a step that was carried out.
type stepResult struct {
	name      string
	requested time.Time
	answered  time.Time
	err       error
}

func (d *drilling) plan() string {
	var b strings.Builder
	fmt.Fprintf(&b, "probe %s at %v clients a second", d.load.target, d.rate)
	if d.unit() != "" {
		fmt.Fprintf(&b, ", and meanwhile, to %s", d.unit())
	}
	b.WriteString(":\n")
	last := ""
	for _, s := range d.drillFlags.steps() {
		if s.name != last {
			n := len(slices.DeleteFunc(d.drillFlags.steps(), func(other step) bool { return other.name != s.name }))
			fmt.Fprintf(&b, "  %s, %s, %s apart\n", s.name, words.Count(n, "time"), d.each)
		}
		last = s.name
	}
	return b.String()
}

// consent asks on the terminal before the drill changes anything, and asks twice before a soft reboot.
func (d *drilling) consent() error {
	if d.yes {
		return nil
	}
	if in, ok := d.in.(*os.File); !ok || !isTerminal(in) || !isTerminal(d.err) {
		return errors.New("drill disturbs what it tests: write --yes, or run it on a terminal, where it asks")
	}
	answers := bufio.NewReader(d.in)
	ask := func(question string) bool {
		fmt.Fprintf(d.err, "%s [y/N] ", question)
		answer, _ := answers.ReadString('\n')
		return slices.Contains([]string{"y", "yes"}, strings.ToLower(strings.TrimSpace(answer)))
	}
	fmt.Fprint(d.err, d.plan())
	if !ask("Go on?") || d.softReboot && !ask("A soft reboot ends every process of this machine. Really?") {
		d.say("nothing was done")
		return exitCode(exitCanceled)
	}
	return nil
}

func (d *drilling) run(ctx context.Context) error {
	var unit *drill.Unit
	if d.unit() != "" {
		var err error
		if unit, err = drill.Open(ctx, d.unit()); err != nil {
			return d.fail(err, exitLocal)
		}
		defer func() { unit.Close() }()
		if d.softReboot {
			if err := unit.SurvivesSoftReboot(ctx); err != nil {
				d.say("%s", err) // as one text: it has a command of several lines, which people copy
				return exitCode(exitUsage)
			}
		}
	}
	if err := d.load.resolve(ctx); err != nil {
		d.say("%s: %s", safe(d.load.target.String()), safe(err.Error()))
		return exitCode(exitTimeout)
	}
	if unit != nil { // do not restart a unit if the target is wrong, for example its port
		if r := d.load.probe.Do(ctx, d.load.target); r.Status != probe.OK {
			d.say("%s is left alone, since its clients are not served before the first step: %s: %s",
				unit.Name, safe(d.load.target.String()), safe(r.Err.Error()))
			return exitCode(exitFor(r.Status))
		}
		if err := d.possible(ctx, unit); err != nil { // after the probe: it can make a socket unit start its service
			return d.fail(err, exitLocal)
		}
	}
	again := make(chan os.Signal, 1) // receives further interrupts, which must not leave the unit stopped
	signal.Notify(again, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(again)
	if !signal.Ignored(syscall.SIGHUP) { // nohup(1) makes a process ignore it
		signal.Notify(again, syscall.SIGHUP)
		var stop func()
		ctx, stop = signal.NotifyContext(ctx, syscall.SIGHUP)
		defer stop()
	}
	d.begin = time.Now()
	defer context.AfterFunc(ctx, d.enough)()
	var clients sync.WaitGroup
	clients.Go(func() {
		r := openloop.Runner{Due: d.schedule, Do: d.client, MaxInflight: drill.Inflight(d.maxInflight), Skip: startLimit}
		r.Run(ctx)
	})
	d.carryOut(ctx, unit)
	d.enough()
	if unit != nil && ctx.Err() != nil {
		d.restore(ctx, unit, again) // before waiting for the clients
	}
	clients.Wait()
	if unit != nil && ctx.Err() == nil {
		d.restore(ctx, unit, again)
	}
	return d.conclude(ctx)
}

// possible returns an error if a step is not possible with the unit, or would stop other units, which the
// operator has not named.
func (d *drilling) possible(ctx context.Context, unit *drill.Unit) error {
	var errs []error
	if d.restart+d.stopStart > 0 {
		errs = append(errs, unit.Restartable(ctx))
	}
	if d.reload > 0 {
		errs = append(errs, unit.Reloadable(ctx))
	}
	if d.kill > 0 {
		errs = append(errs, unit.Killable(ctx))
	}
	return errors.Join(errs...)
}

// restore restores the state of the unit before the drill. Another interrupt ends this. It ignores an interrupt
// within a second, which is the same one: timeout(1) sends it to the process, and also to its process group.
func (d *drilling) restore(ctx context.Context, unit *drill.Unit, again <-chan os.Signal) {
	restoring, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	restoring, stop := context.WithTimeout(restoring, stepTimeout)
	defer stop()
	if ctx.Err() != nil {
		d.say("interrupted: waiting until %s is active again; another interrupt ends this", unit.Name)
		go func() {
			for {
				select {
				case <-again:
					if time.Since(*d.end.Load()) > time.Second {
						cancel(errors.New("interrupted again"))
					}
				case <-restoring.Done():
					return
				}
			}
		}()
	}
	if err := unit.Restore(restoring); err != nil {
		d.unrestored = true
		d.say("%s is not left as it was found: %s", unit.Name, err)
	}
}

// enough ends the schedule now, unless it has already ended.
func (d *drilling) enough() {
	now := time.Now()
	d.end.CompareAndSwap(nil, &now)
}

// over reports whether the schedule has ended at or before the time at, so that no client is due then.
func (d *drilling) over(at time.Time) bool {
	end := d.end.Load()
	return end != nil && !at.Before(*end)
}

// schedule yields the times at which clients are due, from the beginning of the drill. It counts the clients in
// due.
func (d *drilling) schedule(yield func(time.Duration) bool) {
	for at := range d.loadFlags.schedule() {
		if d.over(d.begin.Add(at)) || !yield(at) {
			return
		}
		if !d.over(d.begin.Add(at)) {
			d.due++
		}
	}
}

// startLimit is the maximum delay with which this machine starts a client. A client with a longer delay is not
// started, and does not count as lost.
const startLimit = time.Second

func (d *drilling) client(ctx context.Context, s openloop.Request) {
	c := drill.Client{Due: s.Due, Ended: s.Started, Late: s.Started.Sub(s.Due)}
	switch {
	case d.over(s.Due):
		return
	case c.Late > startLimit:
		c.Outcome, c.Late = drill.NotAsked, 0
		if s.Held {
			c.Error = d.inflightReached()
		}
		d.record.Add(c)
		return
	}
	r := d.load.do(ctx, s)
	c.Ended, c.Outcome = s.Started.Add(r.Timing.Total), outcomeOf(r)
	if r.Err != nil {
		c.Error = safe(r.Err.Error())
	}
	if ctx.Err() != nil && c.Outcome == drill.Other { // the interrupt, and not the server, can have ended the probe
		c.Outcome = drill.NotAsked
	}
	d.record.Add(c)
}

// inflightReached returns in words the limit because of which clients were not started.
func (d *drilling) inflightReached() string {
	if n := drill.Inflight(d.maxInflight); n < d.maxInflight {
		return fmt.Sprintf("only %d can be under way at once, because of the limit of open files (ulimit -n)", n)
	}
	return fmt.Sprintf("--max-inflight %d was reached", d.maxInflight)
}

func outcomeOf(r probe.Result) drill.Outcome {
	switch r.Status {
	case probe.OK:
		return drill.Served
	case probe.Refused:
		return drill.Refused
	case probe.Reset:
		return drill.Reset
	case probe.Closed, probe.Partial:
		return drill.Cut
	case probe.ConnectTimeout, probe.NoGreeting:
		return drill.TimedOut
	case probe.LocalError, probe.Canceled:
		return drill.NotAsked
	}
	return drill.Other
}

// carryOut carries out one step after the other, until one fails or ctx is done.
func (d *drilling) carryOut(ctx context.Context, unit *drill.Unit) {
	if !pause(ctx, d.each) {
		return
	}
	for i, s := range d.drillFlags.steps() {
		if isTerminal(d.err) {
			d.say("step %d: %s", i+1, s.name)
		}
		within, cancel := context.WithTimeoutCause(ctx, stepTimeout, fmt.Errorf("no answer within %s", stepTimeout))
		result := stepResult{name: s.name, requested: time.Now()}
		result.err = s.do(unit, within)
		cancel()
		result.answered = time.Now()
		d.steps = append(d.steps, result)
		if result.err != nil {
			if ctx.Err() == nil {
				d.say("step %d: %s", i+1, safe(result.err.Error()))
			}
			return
		}
		if !d.servedAgain(ctx, result.answered) || !pause(ctx, d.each) {
			return
		}
	}
}

// recoveryLimit is the maximum time after the end of a step for which the next step waits until clients are served again.
const recoveryLimit = 10 * time.Second

// servedAgain waits until a client that was due at or after since is served, for at most recoveryLimit. Then no client waits
// because of the last step, and what the next one costs is its own. It does not wait if no client was ever served. It returns
// false if ctx was done before.
func (d *drilling) servedAgain(ctx context.Context, since time.Time) bool {
	const interval = 5 * time.Millisecond
	for d.record.ServedSince(d.begin) && !d.record.ServedSince(since) && time.Since(since) < recoveryLimit {
		if !pause(ctx, interval) {
			return false
		}
	}
	return true
}

// pause sleeps for d. It returns false if ctx was done before.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

func (d *drilling) conclude(ctx context.Context) error {
	r := d.report()
	switch {
	case ctx.Err() != nil:
		r.Exit = exitCanceled
	case d.unrestored || slices.ContainsFunc(d.steps, func(s stepResult) bool { return s.err != nil }):
		r.Exit = exitLocal
	case d.maxLost >= 0 && r.All.Lost > d.maxLost:
		r.Exit = exitGreeting
	}
	if d.output == "json" {
		writeJSON(d.out, r)
	} else {
		r.print(d.out, d.course())
	}
	return exitWith(r.Exit)
}
