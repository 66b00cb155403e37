package logging

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"greetd.example/internal/words"
	"greetd.example/pkg/journal"
)

// flushTime is how long Close waits for the output, except in tests.
const flushTime = 500 * time.Millisecond

// The values of Options.Output, Options.Format and Options.Visits.
const (
	toAuto     = "auto"
	toJournald = "journald"
	toSyslog   = "syslog"
	toStdout   = "stdout"
	toStderr   = "stderr"

	textFormat = "text"
	jsonFormat = "json"

	all      = "all"
	problems = "problems"
	none     = "none"
)

// Options say what is logged, and where to. They are the log section of the
// configuration.
type Options struct {
	// Output is auto, journald, syslog, stdout or stderr. auto is journald where stderr
	// goes to it (JOURNAL_STREAM of systemd.exec(5)), else stderr.
	Output string
	Level  string // panic, fatal, error, warn, info or debug: what is less important is left out
	Format string // text or json, for syslog, stdout and stderr; the journal has fields instead
	Visits string // all; problems: those that were not greeted; or none
	Rate   int    // entries a second for visits that were greeted, and as many for others, the rest is summed up; 0: no limit
	Burst  int    // how many of each at once, after a pause; at least 1

	Skip []netip.Prefix // clients whose visits are not logged; IPv4 in IPv4 form
}

// A Log logs visits and events. Its methods may be called at once; none of them waits
// for the output, except Close. It implements [service.Observer].
type Log struct {
	level          atomic.Uint32          // a logrus.Level
	visits         atomic.Pointer[string] // Options.Visits
	limit          budgets
	skip           atomic.Pointer[[]netip.Prefix] // Options.Skip
	untraced       untraced
	repeats        repeats
	acceptFailures acceptFailures
	recent         recent
	account        account
	writer         *journal.Writer[*entry]

	mu        sync.Mutex // of Apply, SetLevel and Close
	env       *environment
	out       *output // the latest, which the writer has or will have
	closed    bool
	flushTime time.Duration
}

// Open starts a Log with the options o; stdout and stderr are the process's own. It
// fails on values that are not valid, not on an output that can't be reached: entries
// wait for that, and stderr has a warning. The caller must Close the Log.
func Open(o Options, stdout, stderr *os.File) (*Log, error) {
	return open(o, newEnvironment(stdout, stderr))
}

func open(o Options, env *environment) (*Log, error) {
	level, err := o.check()
	if err != nil {
		return nil, err
	}
	l := &Log{env: env, out: env.output(o, ""), flushTime: flushTime}
	l.account = account{limit: &l.limit, untraced: &l.untraced, recent: &l.recent, warn: l.warn}
	l.use(o, level)
	l.out.Conn, _ = env.connect(l.out.Name) // the writer tries again, and warns
	l.writer, err = journal.NewWriter(l.out, l.account.hooks())
	return l, err
}

// check returns the level of o, or what is wrong with each value that is not valid.
func (o Options) check() (logrus.Level, error) {
	level, err := parseLevel(o.Level)
	return level, errors.Join(err,
		oneOf("log.output", o.Output, toAuto, toJournald, toSyslog, toStdout, toStderr),
		oneOf("log.format", o.Format, textFormat, jsonFormat),
		oneOf("log.visits", o.Visits, all, problems, none),
		atLeastZero("log.rate", o.Rate),
		atLeastZero("log.burst", o.Burst))
}

func parseLevel(text string) (logrus.Level, error) {
	level, err := logrus.ParseLevel(text)
	if err != nil || level > logrus.DebugLevel {
		return 0, fmt.Errorf("log.level: %q is not one of panic, fatal, error, warn, info, debug", text)
	}
	return level, nil
}

func oneOf(key, value string, known ...string) error {
	if slices.Contains(known, value) {
		return nil
	}
	return fmt.Errorf("%s: %q is not one of %s", key, value, strings.Join(known, ", "))
}

func atLeastZero(key string, value int) error {
	if value < 0 {
		return fmt.Errorf("%s: %d is less than 0", key, value)
	}
	return nil
}

// Apply changes the options to o. With an error everything stays as it was: on a value
// that is not valid, and on a different output that can't be reached. Entries that wait
// go to the new output; none is lost or written twice.
func (l *Log) Apply(o Options) error {
	level, err := o.check()
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return journal.ErrClosed
	}
	out := l.env.output(o, l.out.Name)
	if out.Name == l.out.Name {
		out.Conn = l.out.Conn
	} else if out.Conn, err = l.env.connect(out.Name); err != nil {
		return err
	}
	l.out = out
	l.writer.Use(out)
	l.use(o, level)
	return nil
}

// use applies what is not the writer's.
func (l *Log) use(o Options, level logrus.Level) {
	l.level.Store(uint32(level))
	l.visits.Store(&o.Visits)
	l.limit.set(o.Rate, o.Burst)
	l.skip.Store(&o.Skip)
}

// SetLevel changes the level until the next Apply, and says so in the log whatever
// the level.
func (l *Log) SetLevel(name string) error {
	level, err := parseLevel(name)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	before := logrus.Level(l.level.Swap(uint32(level)))
	l.put(newDiagnostic(LevelChanged, fmt.Sprintf("log level changed to %s from %s", level, before),
		[]Field{F("log_level", level)}))
	return nil
}

// Level returns the level in force.
func (l *Log) Level() string { return logrus.Level(l.level.Load()).String() }

// enabled reports whether the level in force includes e.
func (l *Log) enabled(e Event) bool { return eventKinds[e].level <= logrus.Level(l.level.Load()) }

// Event logs that e has happened. message is one sentence without a full stop;
// fields say the same to a program, and more.
func (l *Log) Event(e Event, message string, fields ...Field) {
	if l.enabled(e) {
		l.put(newDiagnostic(e, message, fields))
	}
}

// put queues e.
func (l *Log) put(e *entry) {
	l.recent.add(e) // first: the writer may free it
	l.writer.Put(e, e.urgent())
}

// warn writes to stderr that entries don't reach the output, if that is not stderr
// itself.
func (l *Log) warn(output, message string) {
	if output != toStderr {
		_ = l.env.stderr.write(message, 0)
	}
}

// Dropped returns how many entries were dropped since Open, because they found the
// queue full or the Log closed, or were not written when Close gave up.
func (l *Log) Dropped() uint64 { return l.account.drops.total() }

// Suppressed returns how many visits are in summaries instead of entries of their own
// since Open.
func (l *Log) Suppressed() uint64 { return l.limit.suppressed() }

// Output returns where the log goes: journald, syslog, stdout or stderr.
func (l *Log) Output() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.Name
}

// Alive returns nil if the log's writer runs, even if it waits for an output that is
// stuck. It returns an error if the writer has not answered when ctx ends, or has ended.
func (l *Log) Alive(ctx context.Context) error { return l.writer.Alive(ctx) }

// Close writes the entries that wait, for at most half a second. The error says how many
// were not written. What is logged after it is dropped. A second Close does nothing.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	l.limit.set(0, 0) // from now on a visit is dropped, not summed up
	err := l.writer.Close(l.flushTime)
	if errors.Is(err, journal.ErrNotWritten) {
		entries, visits := l.account.left()
		return fmt.Errorf("close log: %s did not take %s within %s; %s not logged", l.out.Name,
			words.Count(entries, "entry"), duration(l.flushTime), words.Count(visits, "visit"))
	}
	if err != nil {
		return fmt.Errorf("close log: %s: %w", l.out.Name, err)
	}
	return nil
}
