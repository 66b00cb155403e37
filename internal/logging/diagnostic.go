package logging

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/sirupsen/logrus"
)

// eventKey is the key of the Event in a logrus entry. Keys of fields are in lower case, so none is the same.
const eventKey = "MESSAGE_ID"

// newDiagnostic returns an entry that the logger of the output will log. It formats the values of the
// fields now, since they can refer to data that changes.
func newDiagnostic(event Event, message string, fields []Field) *entry {
	e := newEntry(event, time.Now(), message)
	data := make(logrus.Fields, len(fields)+1)
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

// A form is the format of entries in an output. It appends e to dst and returns the extended slice. It cuts each
// value to at most limit bytes.
type form interface {
	append(dst []byte, e *entry, limit int) []byte
}

// An encoder encodes the entries of one output. For diagnostics it has a logger, of which it is the formatter and
// the output. Visits have none, since a map of fields for each of them would take too much time.
//
// The logger works after the queue, and not before it: logrus formats in the goroutine of its caller, so entries
// in the queue would keep the form of an output that a reload has replaced.
type encoder struct {
	form   form
	logger *logrus.Logger
	limit  int    // for the form
	buf    []byte // receives the output of the logger
}

func newEncoder(f form) *encoder {
	c := &encoder{form: f, logger: logrus.New()}
	c.logger.SetFormatter(c)
	c.logger.SetOutput(c)
	c.logger.SetLevel(logrus.TraceLevel) // the level was already checked when the entry was logged
	return c
}

// encode implements [journal.Output].
func (c *encoder) encode(dst []byte, e *entry, limit int) []byte {
	if e.diagnostic == nil {
		return c.form.append(dst, e, limit)
	}
	c.buf, c.limit = dst, limit
	e.diagnostic.Logger = c.logger
	e.diagnostic.Log(e.level, string(e.text[:e.message]))
	return c.buf
}

// Format implements [logrus.Formatter].
func (c *encoder) Format(from *logrus.Entry) ([]byte, error) {
	e := newEntry(from.Data[eventKey].(Event), from.Time, from.Message)
	defer e.free()
	for _, key := range slices.Sorted(maps.Keys(from.Data)) {
		if key != eventKey {
			e.add(key, from.Data[key])
		}
	}
	return c.form.append(nil, e, c.limit), nil
}

// Write implements [io.Writer] for the logger. It appends line to buf.
func (c *encoder) Write(line []byte) (int, error) {
	c.buf = append(c.buf, line...)
	return len(line), nil
}
