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

// An entry is one entry of the log. It does not have the form of an output yet, so that it can wait for any
// output. Get one from newEntry, and return it with free.
type entry struct {
	event    Event
	level    logrus.Level
	priority journal.Priority
	time     time.Time
	text     []byte         // the message, followed by the values of the fields without separators
	message  int            // length of the message in text
	visits   uint64         // number of visits that the entry reports
	reason   service.Reason // of the visit, if the entry is for one visit
	fields   []fieldSpan

	// diagnostic, if not nil, has the fields instead of fields. The logger of the output logs it.
	diagnostic *logrus.Entry
}

// A fieldSpan is a field of an entry. Its value begins in text at the end of the value of the field before.
type fieldSpan struct {
	key  string
	end  int
	bare bool // the value has no quotes in JSON
}

var entries = sync.Pool{New: func() any { return new(entry) }}

// newEntry returns an entry without fields, with the level of the event.
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

// free returns the entry to the pool. The caller must not use it any more.
func (e *entry) free() {
	if cap(e.text) <= 8<<10 { // do not keep the memory of a rare long entry
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

// add adds a field with value as fmt prints it. It omits a nil value.
func (e *entry) add(key string, value any) {
	if value != nil {
		e.text = fmt.Append(e.text, value)
		e.end(key, isBare(value))
	}
}

// isBare reports whether value, as fmt prints it, is a number or a boolean of JSON, which needs no quotes.
func isBare(value any) bool {
	switch value.(type) {
	case int, int32, int64, uint, uint8, uint16, uint32, uint64, bool:
		return true
	}
	return false
}

// end adds the field with this key. Its value is the text after the value of the field before.
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
