// Package logging is the log of greetd. It writes one entry for each visit, and one for each event of the
// daemon, to journald, to syslog, to stdout or to stderr.
//
// A caller never waits for the output. An entry goes into the bounded queue of a [journal.Writer], which
// writes it. If the queue is full, the entry is dropped and counted, and the count is logged when the output
// works again. Visits are logged up to a rate, and summaries count the others. So each visit is exactly once
// in an entry, in a summary, or in a count of dropped entries.
//
// Diagnostics are logrus entries, and the encoder of an output is their logrus formatter. Entries of visits use
// neither, since there can be many of them. No other package imports logrus.
package logging

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"greetd.example/internal/words"
	"greetd.example/pkg/journal"
)

// flushTime is how long Close waits for the output, except in tests.
const flushTime = 500 * time.Millisecond

// The values of Options.Output, and those of Options.Format and Options.Visits that are no default.
const (
	toAuto     = "auto"
	toJournald = "journald"
	toSyslog   = "syslog"
	toStdout   = "stdout"
	toStderr   = "stderr"

	jsonFormat = "json"

	problems = "problems"
	none     = "none"
)

// Options say what is logged, and to which output. They are the values of the section log of the
// configuration, which has checked them.
type Options struct {
	// Output is auto, journald, syslog, stdout or stderr. auto is journald if stderr goes to the journal
	// (JOURNAL_STREAM of systemd.exec(5)), else stderr.
	Output string
	Level  string // panic, fatal, error, warn, info or debug: less important entries are not logged
	Format string // text or json, for syslog, stdout and stderr; not for the journal, which has fields
	Visits string // all, problems (visits that were not greeted) or none
	Rate   int    // average number of entries a second for greeted visits, and the same number for other visits; summaries count the rest; 0: no limit
	Burst  int    // number of entries of each of the two kinds at once, after a pause; 0 means 1

	Skip []netip.Prefix // clients whose visits are not logged; IPv4 in IPv4 form
}

// A Log logs visits and events. It implements [service.Observer]. Its methods may be called concurrently.
// Only Close waits for the output.
type Log struct {
	account
	level          atomic.Uint32           // a logrus.Level
	options        atomic.Pointer[Options] // for Visits and Skip
	repeats        repeats
	acceptFailures acceptFailures
	writer         *journal.Writer[*entry]

	mu        sync.Mutex // of Apply, SetLevel and Close
	env       *environment
	out       *output // the latest output, which the writer uses or will use
	closed    bool
	flushTime time.Duration
}

// Open starts a Log with the options o. stdout and stderr are those of the process. Open returns an error if
// the level is not valid, but not if the output can't be reached: then entries wait for the output, and Open
// writes a warning to stderr. The caller must Close the Log.
func Open(o Options, stdout, stderr *os.File) (*Log, error) {
	return open(o, newEnvironment(stdout, stderr))
}

func open(o Options, env *environment) (*Log, error) {
	level, err := parseLevel(o.Level)
	if err != nil {
		return nil, err
	}
	l := &Log{env: env, out: env.output(o, ""), flushTime: flushTime, account: account{warn: env.warn}}
	l.use(o, level)
	l.out.Conn, _ = env.connect(l.out.Name) // after an error, the writer tries again and writes the warning
	l.writer, err = journal.NewWriter(l.out, l.hooks())
	return l, err
}

func parseLevel(text string) (logrus.Level, error) {
	level, err := logrus.ParseLevel(text)
	if err != nil || level > logrus.DebugLevel {
		return 0, fmt.Errorf("log.level: %q is not one of panic, fatal, error, warn, info, debug", text)
	}
	return level, nil
}

// Apply changes the options to o. It returns an error, and changes nothing, if the level is not valid, if a new
// output can't be reached, or if the Log is closed. Entries that wait go to the new output; no entry is lost
// or written twice.
func (l *Log) Apply(o Options) error {
	level, err := parseLevel(o.Level)
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

// use applies the options that the writer does not need.
func (l *Log) use(o Options, level logrus.Level) {
	l.level.Store(uint32(level))
	l.options.Store(&o)
	l.limit.set(o.Rate, o.Burst)
}

// SetLevel changes the level until the next Apply. It logs the change at every level.
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

// enabled reports whether e is logged at the level in force.
func (l *Log) enabled(e Event) bool { return eventKinds[e].level <= logrus.Level(l.level.Load()) }

// Event logs that e has happened. message is one sentence without a full stop, for people. fields have the
// same facts, and more, for programs.
func (l *Log) Event(e Event, message string, fields ...Field) {
	if l.enabled(e) {
		l.put(newDiagnostic(e, message, fields))
	}
}

func (l *Log) put(e *entry) {
	l.recent.add(e) // before Put: the writer can free e
	l.writer.Put(e, e.urgent())
}

// Dropped returns the number of entries that were dropped since Open: because the queue was full, because
// the Log was closed, or because Close gave up before they were written.
func (l *Log) Dropped() uint64 { return l.drops.total() }

// Suppressed returns the number of visits since Open that have no entry of their own, and are only counted
// in summaries.
func (l *Log) Suppressed() uint64 { return l.limit.suppressed() }

// Output returns where the log goes: journald, syslog, stdout or stderr.
func (l *Log) Output() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.Name
}

// Alive returns nil if the writer of the log runs, even if it waits for an output that blocks. It returns an
// error if the writer has ended, or has not answered when ctx is done.
func (l *Log) Alive(ctx context.Context) error { return l.writer.Alive(ctx) }

// Close writes the entries that wait, for at most half a second. The error has the number of entries that
// were not written. Entries that are logged after Close are dropped. A second Close does nothing.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	l.limit.set(0, 0) // no limit: a later visit is dropped and counted, instead of waiting for a summary
	err := l.writer.Close(l.flushTime)
	if errors.Is(err, journal.ErrNotWritten) {
		entries, visits := l.left()
		return fmt.Errorf("close log: %s did not take %s within %s; %s not logged", l.out.Name,
			words.Count(entries, "entry"), duration(l.flushTime), words.Count(visits, "visit"))
	}
	if err != nil {
		return fmt.Errorf("close log: %s: %w", l.out.Name, err)
	}
	return nil
}
