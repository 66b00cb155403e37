package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"greetd.example/internal/openloop"
	"greetd.example/internal/words"
	"greetd.example/pkg/probe"
)

const (
	leastInterval = time.Millisecond       // the minimum of --interval; for shorter intervals there is greetprobe load
	redraw        = 100 * time.Millisecond // the shortest time between two drawings of a plot

	// The shortest pause that is taken for a stop of this process. A shorter one can be caused by a busy machine.
	leastPause = 500 * time.Millisecond

	// The smallest difference of the clocks that is taken for a suspension of the machine. It is more than the gradual
	// adjustment of a clock.
	leastSuspension = 2 * time.Second
)

type pingFlags struct {
	probeFlags
	count    int
	interval time.Duration
	output   string
	plot     bool
}

func newPing(ctx context.Context, std streams) *cobra.Command {
	var f pingFlags
	cmd := &cobra.Command{
		Use:   "ping [flags] TARGET",
		Short: "Probe repeatedly, and print a summary as ping(8) does",
		Long: `Ping probes one target every second until it is interrupted. It prints a line
for each probe, and a summary at the end. Probes start on time: a slow one
overlaps with the next. A name is resolved for each probe, and that time is
included.`,
		Example: `  greetprobe ping mail.example:25               until ^C; ^\ prints a summary
  greetprobe ping -c 10 -i 200ms mail.example 25
  greetprobe ping --plot '[2001:db8::1]:smtp'   draw a chart
  greetprobe ping -c 60 -o json mail.example:25 | jq .timing_us`,
		ValidArgsFunction: completePort,
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.run(ctx, cmd.Flags(), args, std)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.IntVarP(&f.count, "count", "c", 0, "stop after `N` probes (default: when interrupted)")
	flags.DurationVarP(&f.interval, "interval", "i", time.Second, "time from the start of one probe to the start of the next")
	flags.StringVarP(&f.output, "output", "o", "text", "`FORM` text or json: an object for each probe, and a summary")
	flags.BoolVar(&f.plot, "plot", false, "draw a chart of the times, on a terminal")
	f.register(cmd)
	complete(cmd, "output", "text", "json")
	return cmd
}

func (f *pingFlags) run(ctx context.Context, flags *pflag.FlagSet, args []string, std streams) error {
	p, errProbe := f.probe(flags)
	target, errTarget := oneTarget(args)
	if err := errors.Join(errProbe, f.check(), errTarget); err != nil {
		return err
	}
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGQUIT)
	defer signal.Stop(asked)

	s := newPingSeries(f, target, std)
	return s.run(ctx, p.Do, asked)
}

func (f *pingFlags) check() error {
	var errs flagErrors
	errs.refuse(f.count < 0, "--count %d: can't be negative", f.count)
	errs.refuse(f.interval < leastInterval, "--interval %s: must be at least %s; for more there is greetprobe load", f.interval, leastInterval)
	errs.refuse(f.plot && f.output != "text", "--plot is for text, not for --output %s", f.output)
	errs.refuse(f.plot && f.verbose > 0, "--plot and -v exclude each other: both use the screen")
	errs.checkForm(f.output)
	return errors.Join(errs...)
}

func (e *flagErrors) checkForm(output string) {
	e.refuse(output != "text" && output != "json", "--output %s: the formats are text and json", output)
}

func oneTarget(args []string) (probe.Target, error) {
	targets, err := argTargets(args)
	switch {
	case err != nil:
		return probe.Target{}, err
	case len(targets) == 0:
		return probe.Target{}, errNoTarget
	case len(targets) > 1:
		return probe.Target{}, fmt.Errorf("%d targets: there can be only one", len(targets))
	}
	return targets[0], nil
}

// A pingSeries is a ping in progress.
type pingSeries struct {
	streams
	flags  *pingFlags
	target probe.Target
	name   string    // of the target, safe for a terminal
	start  time.Time // of the first probe, with a monotonic reading

	mu       sync.Mutex // guards the rest, and the streams
	stats    *pingStats
	missed   int    // number of skipped probes
	hint     string // for the last failure
	outcomes map[probe.Status]int
	exit     int           // the largest exit code up to now
	apart    time.Duration // difference of the wall clock and the monotonic clock that has been reported
	last     time.Time     // start of the last probe that has ended
	live     *livePlot     // nil: print a line for each probe
	drawn    time.Time
	line     string    // line of the last probe, shown below the plot
	course   []float64 // milliseconds, in the order of their ends
}

func newPingSeries(f *pingFlags, target probe.Target, std streams) *pingSeries {
	s := &pingSeries{
		streams: std, flags: f, target: target, name: safe(target.String()),
		stats: newPingStats(), outcomes: map[probe.Status]int{}, start: time.Now(),
	}
	switch {
	case f.plot && std.animated():
		s.live = &livePlot{w: std.out}
	case f.plot:
		std.say("--plot draws on a terminal only: here come the lines")
	}
	return s
}

// run probes until the count is reached or ctx is done. When it receives a signal from asked, it prints a summary
// and continues.
func (s *pingSeries) run(ctx context.Context, do func(context.Context, probe.Target) probe.Result, asked <-chan os.Signal) error {
	if s.flags.output == "text" && s.live == nil {
		fmt.Fprintf(s.out, "probing %s every %s\n", s.name, s.flags.interval)
	}
	series := openloop.Runner{
		Due: openloop.Constant(1 / s.flags.interval.Seconds()),
		Do: func(ctx context.Context, request openloop.Request) {
			s.lookAtClocks()
			s.ended(request, do(ctx, s.target))
		},
		Count:   s.flags.count,
		Skip:    max(s.flags.interval, leastPause),
		Skipped: s.skipped,
	}
	done := make(chan struct{})
	var answering sync.WaitGroup
	answering.Go(func() { s.answer(asked, done) })
	series.Run(ctx)
	close(done)
	answering.Wait()
	return s.finish(ctx.Err() != nil)
}

// answer prints a summary for each signal from asked, until done is closed.
func (s *pingSeries) answer(asked <-chan os.Signal, done <-chan struct{}) {
	for {
		select {
		case <-asked:
			s.mu.Lock()
			s.sumUp(false, false)
			s.mu.Unlock()
		case <-done:
			return
		}
	}
}

// skipped reports probes that were due while this process was stopped.
func (s *pingSeries) skipped(probes int, since, until time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.missed += probes
	s.say("%s skipped: greetprobe was stopped for about %s", words.Count(probes, "probe"),
		until.Sub(since).Round(100*time.Millisecond)+s.flags.interval)
}

// lookAtClocks reports that the machine was suspended: the monotonic clock then stops, and the difference between it
// and the wall clock grows. The schedule continues where it was.
func (s *pingSeries) lookAtClocks() {
	now := time.Now()
	apart := now.Round(0).Sub(s.start.Round(0)) - now.Sub(s.start)
	s.mu.Lock()
	defer s.mu.Unlock()
	gap := apart - s.apart
	if gap < max(leastSuspension, s.flags.interval) && gap >= -leastSuspension {
		return
	}
	s.apart = apart
	if gap <= 0 {
		return
	}
	probes := int(gap / s.flags.interval)
	s.missed += probes
	s.say("%s skipped: the machine was suspended, or its clock was set, for %s",
		words.Count(probes, "probe"), gap.Round(time.Second))
}

// ended reports one probe. It ignores an interrupted probe.
func (s *pingSeries) ended(request openloop.Request, r probe.Result) {
	if r.Status == probe.Canceled {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	ok := r.Status == probe.OK
	s.stats.add(request.Seq, request.Due, ok, r.Timing.Total)
	s.outcomes[r.Status]++
	s.exit = max(s.exit, exitFor(r.Status))
	s.hint = s.flags.hint(r)
	if request.Started.After(s.last) {
		s.last = request.Started
	}
	if s.flags.output == "json" {
		_, _ = s.out.Write(append(object(r), '\n'))
	} else {
		s.show(request.Seq+1, r)
	}
	if s.flags.verbose > 0 {
		explain(s.err, r)
	}
}

func (s *pingSeries) show(seq int, r probe.Result) {
	s.line = pingLine(seq, r)
	if s.live == nil {
		fmt.Fprintln(s.out, s.line)
		return
	}
	took := math.NaN()
	if r.Status == probe.OK {
		took = float64(r.Timing.Total) / float64(time.Millisecond)
	}
	s.course = append(s.course, took)
	if now := time.Now(); now.Sub(s.drawn) >= redraw {
		s.drawn = now
		s.draw()
	}
}

func (s *pingSeries) draw() {
	on := screenOf(s.out)
	on.columns-- // some terminals wrap a line as wide as the screen
	seconds := float64(len(s.course)) * s.flags.interval.Seconds()
	picture := overTime(s.course, seconds, fmt.Sprintf("ms to the greeting of %s; x: failed", s.name)).draw(on)
	s.live.draw(picture + on.letters(on.cut(s.line)) + "\n")
}

func cut(text string, most int) string {
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most])
	}
	return text
}

func pingLine(seq int, r probe.Result) string {
	if r.Status != probe.OK {
		return fmt.Sprintf("%s: seq=%d %s: %s", safe(r.Target.String()), seq, r.Status, safe(r.Err.Error()))
	}
	size := 0
	if r.Greeting != nil {
		size = len(r.Greeting.Bytes)
	}
	from := r.Remote
	if r.Target.Path != "" {
		from = r.Target.String()
	}
	return fmt.Sprintf("%s from %s: seq=%d time=%s ms", words.Count(size, "byte"), safe(from), seq, pingTime(r.Timing.Total))
}

// pingTime formats d in milliseconds with at least three digits, rounded as in ping(8).
func pingTime(d time.Duration) string {
	us := d.Microseconds()
	switch {
	case us >= 100_000-50:
		return strconv.FormatInt((us+500)/1000, 10)
	case us >= 10_000-5:
		return fmt.Sprintf("%d.%d", (us+50)/1000, (us+50)%1000/100)
	case us >= 1000:
		return fmt.Sprintf("%d.%02d", (us+5)/1000, (us+5)%1000/10)
	default:
		return fmt.Sprintf("%d.%03d", us/1000, us%1000)
	}
}

func (s *pingSeries) finish(interrupted bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if interrupted {
		s.exit = exitCanceled
	}
	if s.live != nil && len(s.course) > 0 {
		s.draw()
	}
	s.sumUp(true, interrupted)
	return exitWith(s.exit)
}

// sumUp prints a summary of the probes up to now. The caller holds mu.
func (s *pingSeries) sumUp(final, interrupted bool) {
	now := time.Now()
	took := max(s.last.Sub(s.start), 0)
	if s.flags.output == "json" {
		writeJSON(s.out, s.summary(now, took, final, interrupted))
		return
	}
	s.stats.print(s.out, s.name, took, now)
	if s.hint != "" && s.stats.received == 0 {
		s.say("hint: %s", s.hint)
	}
	if s.missed > 0 {
		fmt.Fprintf(s.out, "skipped: %s, while stopped\n", words.Count(s.missed, "probe"))
	}
	if n := s.outcomes[probe.RefusedByServer]; n > 0 {
		fmt.Fprintf(s.out, "refused by the server: %d of %d\n", n, s.stats.sent)
	}
	if failures := s.failures(); failures != "" {
		fmt.Fprintf(s.out, "failed: %s\n", failures)
	}
	if s.live != nil {
		s.live.lines = 0 // draw the next plot below the summary
	}
}

// failures returns the failed outcomes with their numbers, the most frequent first.
func (s *pingSeries) failures() string {
	byCount := func(a, b probe.Status) int {
		return cmp.Or(s.outcomes[b]-s.outcomes[a], cmp.Compare(a, b))
	}
	var words []string
	for _, status := range slices.SortedFunc(maps.Keys(s.outcomes), byCount) {
		if status != probe.OK {
			words = append(words, fmt.Sprintf("%s %d", status, s.outcomes[status]))
		}
	}
	return strings.Join(words, ", ")
}

// A pingSummary is a summary of a ping. Its JSON form is the schema greetprobe-ping/1.
type pingSummary struct {
	Schema      string               `json:"schema"`
	Time        string               `json:"time"` // RFC 3339, when the first probe was due
	Target      string               `json:"target"`
	Sent        int                  `json:"sent"`
	Received    int                  `json:"received"`
	Loss        float64              `json:"loss_percent"`
	Took        int64                `json:"time_us"` // from the start of the first probe to the start of the last one
	Greeting    *pingTimes           `json:"greeting_us"`
	Outage      *pingOutage          `json:"longest_outage"`
	Outcomes    map[probe.Status]int `json:"outcomes"`
	Skipped     int                  `json:"skipped"` // number of probes not made while this process was stopped
	Final       bool                 `json:"final"`   // false: a signal asked for this summary
	Interrupted bool                 `json:"interrupted"`
	Exit        int                  `json:"exit"`
}

type pingTimes struct {
	Min  int64 `json:"min"`
	Avg  int64 `json:"avg"`
	Max  int64 `json:"max"`
	Mdev int64 `json:"mdev"`
	P50  int64 `json:"p50"`
	P90  int64 `json:"p90"`
	P99  int64 `json:"p99"`
}

type pingOutage struct {
	Length   int64  `json:"us"`
	Probes   int    `json:"probes"`
	FirstSeq int    `json:"first_seq"` // from 1
	From     string `json:"from"`      // RFC 3339
	Over     bool   `json:"over"`
}

func (s *pingSeries) summary(now time.Time, took time.Duration, final, interrupted bool) pingSummary {
	sum := pingSummary{
		Schema: "greetprobe-ping/1", Time: wireTime(s.start), Target: s.target.String(),
		Sent: s.stats.sent, Received: s.stats.received, Loss: s.stats.loss(), Took: took.Microseconds(),
		Outcomes: s.outcomes, Skipped: s.missed, Final: final, Interrupted: interrupted, Exit: s.exit,
	}
	if s.stats.received > 0 {
		sum.Greeting = &pingTimes{
			Min: s.stats.min.Microseconds(), Avg: s.stats.avg().Microseconds(),
			Max: s.stats.max.Microseconds(), Mdev: s.stats.mdev().Microseconds(),
			P50: s.stats.percentile(50).Microseconds(), P90: s.stats.percentile(90).Microseconds(),
			P99: s.stats.percentile(99).Microseconds(),
		}
	}
	if o := s.stats.outages.longestUntil(now); o.probes > 0 {
		sum.Outage = &pingOutage{
			Length: o.length().Microseconds(), Probes: o.probes, FirstSeq: o.first + 1,
			From: wireTime(o.from), Over: o.over,
		}
	}
	return sum
}

// wireTime formats a time as in the schema greetprobe/1.
func wireTime(t time.Time) string {
	return t.UTC().Format("2006-01-02T15:04:05.000000Z07:00")
}
