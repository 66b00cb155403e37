package logging

import (
	"fmt"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"greetd.example/pkg/journal"
	"greetd.example/pkg/service"
)

// An entry is one thing to log, in no output's form yet, so that it can wait for any
// output. It comes from newEntry and goes back with free.
type entry struct {
	event    Event
	level    logrus.Level
	priority journal.Priority
	time     time.Time
	text     []byte         // the message, then the values of the fields, end to end
	message  int            // where the message ends in text
	visits   uint64         // how many it stands for
	reason   service.Reason // of the visit that it is for
	fields   []fieldSpan

	// diagnostic is what the entry of a diagnostic waits as instead of fields: the output's
	// logger logs it.
	diagnostic *logrus.Entry
}

// A fieldSpan is a field of an entry. Its value begins in text where that of the
// field before it ends.
type fieldSpan struct {
	key  string
	end  int
	bare bool // without quotes in JSON
}

var entries = sync.Pool{New: func() any { return new(entry) }}

// newEntry returns an entry of the event's own level, without fields.
func newEntry(event Event, now time.Time, message string) *entry {
	e := entries.Get().(*entry)
	kind := eventKinds[event]
	*e = entry{
		event: event, level: kind.level, priority: kind.priority, time: now,
		text: append(e.text[:0], message...), message: len(message), fields: e.fields[:0],
	}
	if _, ok := event.outcomeIndex(); ok {
		e.visits = 1
	}
	return e
}

// free gives the entry back. It must not be used any more.
func (e *entry) free() {
	if cap(e.text) <= 8<<10 { // a rare big one must not stay
		entries.Put(e)
	}
}

// urgent reports whether e is a warning or worse.
func (e *entry) urgent() bool { return e.level <= logrus.WarnLevel }

func (e *entry) addNumber(key string, value uint64) {
	e.text = strconv.AppendUint(e.text, value, 10)
	e.end(key, true)
}

func (e *entry) addText(key, value string) {
	e.text = append(e.text, value...)
	e.end(key, false)
}

func (e *entry) addBool(key string, value bool) {
	e.text = strconv.AppendBool(e.text, value)
	e.end(key, true)
}

func (e *entry) addAddr(key string, value netip.Addr) {
	e.text = value.AppendTo(e.text)
	e.end(key, false)
}

// add appends a field as fmt prints it. A nil value is left out.
func (e *entry) add(key string, value any) {
	if value != nil {
		e.text = fmt.Append(e.text, value)
		e.end(key, isBare(value))
	}
}

// isBare reports whether JSON has value without quotes, as fmt prints it.
func isBare(value any) bool {
	switch value.(type) {
	case int, int32, int64, uint, uint8, uint16, uint32, uint64, bool:
		return true
	}
	return false
}

// end ends the value at the end of text.
func (e *entry) end(key string, bare bool) {
	e.fields = append(e.fields, fieldSpan{key, len(e.text), bare})
}

// all yields each field with its value, which is valid until the entry is freed.
func (e *entry) all(yield func(f fieldSpan, value []byte) bool) {
	start := e.message
	for _, f := range e.fields {
		if !yield(f, e.text[start:f.end]) {
			return
		}
		start = f.end
	}
}
