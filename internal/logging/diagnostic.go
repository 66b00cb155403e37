package logging

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/sirupsen/logrus"
)

// Keys of a logrus entry that are for the form. Keys of fields are in lower case, so they can't be the same.
const (
	eventKey = "MESSAGE_ID" // an Event
	limitKey = "LIMIT"      // the longest value that the output accepts, an int
)

// newDiagnostic returns an entry that the logger of the output will log. It formats the values of the
// fields now, since they can refer to data that changes.
func newDiagnostic(event Event, message string, fields []Field) *entry {
	e := newEntry(event, time.Now(), message)
	data := make(logrus.Fields, len(fields)+2)
	data[eventKey] = event
	for _, f := range fields {
		switch {
		case f.Value == nil:
		case isBare(f.Value):
			data[f.Key] = f.Value
		default:
			data[f.Key] = fmt.Sprint(f.Value)
		}
	}
	e.diagnostic = &logrus.Entry{Time: e.time, Data: data}
	return e
}

// A form is the format of entries in an output. It is a logrus formatter for diagnostics. For visits it has
// the method append, since a map of fields for each visit would take too much time.
type form interface {
	logrus.Formatter

	// append appends e to dst and returns the extended slice. It cuts each value to at most limit bytes.
	append(dst []byte, e *entry, limit int) []byte
}

// formatted implements Format for all forms.
func formatted(f form, from *logrus.Entry) ([]byte, error) {
	event, ours := from.Data[eventKey].(Event)
	e := newEntry(event, from.Time, from.Message)
	defer e.free()
	if !ours {
		e.level, e.priority = from.Level, levelPriorities[from.Level]
	}
	for _, key := range slices.Sorted(maps.Keys(from.Data)) {
		if key != eventKey && key != limitKey {
			e.add(key, from.Data[key])
		}
	}
	limit, ok := from.Data[limitKey].(int)
	if !ok {
		limit = streamLimit
	}
	return f.append(nil, e, limit), nil
}

// An encoder encodes the entries of one output. Its logger works after the queue, and not before it: logrus
// formats in the goroutine of its caller, so entries in the queue would keep the form of an output that a
// reload has replaced.
type encoder struct {
	form   form
	logger *logrus.Logger
	buf    []byte // receives the output of the logger
}

func newEncoder(f form) *encoder {
	c := &encoder{form: f, logger: logrus.New()}
	c.logger.SetFormatter(f)
	c.logger.SetOutput(c)
	c.logger.SetLevel(logrus.TraceLevel) // the level was already checked when the entry was logged
	return c
}

// encode implements [journal.Output].
func (c *encoder) encode(dst []byte, e *entry, limit int) []byte {
	if e.diagnostic == nil {
		return c.form.append(dst, e, limit)
	}
	c.buf = dst
	e.diagnostic.Logger = c.logger
	e.diagnostic.Data[limitKey] = limit
	e.diagnostic.Log(e.level, string(e.text[:e.message]))
	return c.buf
}

// Write implements [io.Writer] for the logger. It appends line to buf.
func (c *encoder) Write(line []byte) (int, error) {
	c.buf = append(c.buf, line...)
	return len(line), nil
}
