package logging

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"
)

// flushTime is how long Close waits for the output.
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
	Format string // text or json, for syslog, stdout and stderr; the journal takes fields as they are
	Visits string // all; problems: those that were not greeted; or none
	Rate   int    // entries a second for visits, the rest is summed up; 0: no limit
	Burst  int    // so many at once, after a time of calm; at least 1
}

// A Log takes what is to be logged. Its methods may be called at once; none of them
// waits for the output, except Close. It implements [service.Observer].
type Log struct {
	logger   *logrus.Logger
	visits   atomic.Pointer[string] // Options.Visits
	limit    limiter
	repeats  repeats
	queue    queue
	troubles troubles
	recent   recent
	worker   *worker

	mu     sync.Mutex // of Apply, SetLevel and Close
	env    *environment
	out    *output // the latest, which the worker has or will have
	closed bool
}

// Open starts a Log to what o asks for; stdout and stderr are the process's own. It
// fails on values that are none, not on an output which can't be reached: entries wait
// for that, and stderr is told. The caller must Close the Log.
func Open(o Options, stdout, stderr *os.File) (*Log, error) {
	env, err := environ(stdout, stderr)
	if err != nil {
		return nil, err
	}
	return open(o, env)
}

func open(o Options, env *environment) (*Log, error) {
	level, err := o.check()
	if err != nil {
		return nil, err
	}
	l := &Log{logger: logrus.New(), env: env}
	l.logger.SetOutput(io.Discard)
	l.logger.SetFormatter(silent{})
	l.logger.AddHook(hook{l.put})
	l.out, _ = env.open(o, nil) // the worker tries again, and tells
	l.worker, err = newWorker(&l.queue, &l.limit, &l.recent, l.out, l.complain)
	if err != nil {
		return nil, err
	}
	l.use(o, level)
	go l.worker.work() // Close waits
	return l, nil
}

// check returns the level of o, or every value that is none.
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

// Apply makes the Log follow o from now on. With an error everything stays as it
// was: on a value that is none, and on a different output which can't be reached.
// Entries that wait go to the new output; none is lost or told twice.
func (l *Log) Apply(o Options) error {
	level, err := o.check()
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return errClosed
	}
	out, err := l.env.open(o, l.out)
	if err != nil {
		out.close()
		return err
	}
	l.out = out
	l.worker.use(out)
	l.use(o, level)
	return nil
}

// use applies what is not the worker's.
func (l *Log) use(o Options, level logrus.Level) {
	l.logger.SetLevel(level)
	l.visits.Store(&o.Visits)
	l.limit.set(o.Rate, o.Burst)
}

var errClosed = errors.New("the log is closed")

// SetLevel changes the level until the next Apply, and says so in the log whatever
// the level.
func (l *Log) SetLevel(name string) error {
	level, err := parseLevel(name)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.logger.GetLevel()
	l.logger.SetLevel(level)
	e := newEntry(LevelChanged, time.Now(), fmt.Sprintf("log level is now %s, it was %s", level, before))
	e.addText("log_level", level.String())
	l.put(e)
	return nil
}

// Level returns the level in force.
func (l *Log) Level() string { return l.logger.GetLevel().String() }

// Event logs that e has happened. message is one sentence without a full stop;
// fields say the same to a program, and more.
func (l *Log) Event(e Event, message string, fields ...Field) {
	if !l.logger.IsLevelEnabled(eventKinds[e].level) {
		return
	}
	data := make(logrus.Fields, len(fields)+1)
	for _, f := range fields {
		data[f.Key] = f.Value
	}
	l.log(e, message, data)
}

// log hands an entry to logrus, which owns fields from then on.
func (l *Log) log(e Event, message string, fields logrus.Fields) {
	fields[eventKey] = e
	entry := logrus.NewEntry(l.logger)
	entry.Data = fields
	entry.Log(eventKinds[e].level, message)
}

// put queues e.
func (l *Log) put(e *entry) {
	l.recent.add(e) // first: the queue may free it
	l.queue.put(e)
	l.worker.wake()
}

// complain says on stderr that entries don't reach the output, if that is not
// stderr itself.
func (l *Log) complain(message string) {
	if l.worker.out.name != toStderr {
		_ = l.env.stderr.say(message, 0)
	}
}

// Dropped returns how many entries were dropped since Open, because they found the
// queue full or the Log closed.
func (l *Log) Dropped() uint64 {
	ever, _ := l.queue.dropped()
	return ever
}

// Suppressed returns how many visits were told in summaries instead of entries of
// their own since Open.
func (l *Log) Suppressed() uint64 { return l.limit.suppressed() }

// Output returns where the log goes: journald, syslog, stdout or stderr.
func (l *Log) Output() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.name
}

// Alive returns nil if the worker that writes the log moves, even when it waits for
// an output that does not. It returns an error when the worker has not moved until
// ctx ends, or has ended.
func (l *Log) Alive(ctx context.Context) error {
	answer := make(chan struct{})
	select {
	case l.worker.pings <- answer:
	case <-l.worker.done:
		return errClosed
	case <-ctx.Done():
		return fmt.Errorf("the log's worker does not move: %w", context.Cause(ctx))
	}
	l.worker.ring()
	select {
	case <-answer:
		return nil
	case <-l.worker.done:
		return errClosed
	case <-ctx.Done():
		return fmt.Errorf("the log's worker does not move: %w", context.Cause(ctx))
	}
}

// Close writes what is still to be written, for at most half a second. The error
// says how much was not. What is logged after it is dropped. A second Close does
// nothing.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	l.queue.close()
	l.limit.set(0, 0) // from now on a visit is dropped, not summed up
	deadline := time.Now().Add(flushTime)
	l.worker.deadline.Store(&deadline)
	l.worker.ring()
	select {
	case <-l.worker.done:
	case <-time.After(2 * flushTime):
		return fmt.Errorf("close log: a write to %s never returned", l.out.name)
	}
	_ = l.worker.bell.Close()
	if left := l.worker.left; left != (remains{}) {
		return fmt.Errorf("close log: %s did not take %s within %s; %s not in the log", l.out.name,
			count(left.entries, "entry", "entries"), duration(flushTime), count(left.visits, "visit is", "visits are"))
	}
	return nil
}
