package logging

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/sirupsen/logrus"
)

// Among the fields of a logrus entry these are for the form. They can't be mistaken for
// others, which are in lower case.
const (
	eventKey = "MESSAGE_ID" // an Event
	limitKey = "LIMIT"      // the longest value that the output accepts, an int
)

// newDiagnostic returns an entry that the logger of the output will log. The fields are
// printed now, since what they refer to may change.
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

// A form is how entries look in an output: to logrus, which logs the diagnostics, a
// formatter, and to the log of visits, which has no time for a map of fields, a
// function that appends.
type form interface {
	logrus.Formatter

	// append appends e to dst and returns the extended slice. No value is longer than
	// limit bytes in it.
	append(dst []byte, e *entry, limit int) []byte
}

// formatted is the Format of each form.
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

// An encoder encodes the entries of one output. Its logger stands behind the queue and
// not before it: logrus formats at once and in its caller, so what waits would keep the
// form of an output that a reload has changed.
type encoder struct {
	form   form
	logger *logrus.Logger
	buf    []byte // what the logger writes to
}

func newEncoder(f form) *encoder {
	c := &encoder{form: f, logger: logrus.New()}
	c.logger.SetFormatter(f)
	c.logger.SetOutput(c)
	c.logger.SetLevel(logrus.TraceLevel) // what is in the queue was asked for when it was logged
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

// Write implements [io.Writer] for the logger.
func (c *encoder) Write(line []byte) (int, error) {
	c.buf = append(c.buf, line...)
	return len(line), nil
}
