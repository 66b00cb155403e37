package logging

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
	"github.com/sirupsen/logrus"

	"greetd.example/pkg/service"
)

// An entry is one thing to log, in no output's form yet, so that it can wait for
// whichever output takes it. It comes from newEntry and goes back with free.
type entry struct {
	event    Event
	level    logrus.Level
	priority journal.Priority
	time     time.Time
	text     []byte // the message, then the values of the fields, end to end
	message  int    // where the message ends in text
	visits   uint64 // of how many it tells
	fields   []fieldSpan
}

// A fieldSpan is a field of an entry. Its value begins in text where that of the
// field before it ends.
type fieldSpan struct {
	key  string
	end  int
	bare bool // JSON takes it without quotes
}

var entries = sync.Pool{New: func() any { return new(entry) }}

// newEntry returns an entry of the event's own level, without fields.
func newEntry(event Event, now time.Time, message string) *entry {
	e := entries.Get().(*entry)
	kind := eventKinds[event]
	e.event, e.level, e.priority, e.time = event, kind.level, kind.priority, now
	e.text = append(e.text[:0], message...)
	e.message = len(e.text)
	e.fields = e.fields[:0]
	e.visits = 0
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

func (e *entry) addAddr(key string, value netip.Addr) {
	e.text = value.AppendTo(e.text)
	e.end(key, false)
}

// add appends a field as fmt prints it. A nil value is left out.
func (e *entry) add(key string, value any) {
	if value == nil {
		return
	}
	e.text = fmt.Append(e.text, value)
	switch value.(type) {
	case int, int32, int64, uint, uint8, uint16, uint32, uint64, bool:
		e.end(key, true)
	default:
		e.end(key, false)
	}
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

// Among the fields of a logrus entry these are for the hook. They can't be mistaken
// for others, which are in lower case.
const (
	eventKey = "MESSAGE_ID" // an Event
	visitKey = "VISIT"      // a service.Visit
)

// A hook puts what logrus logs into a queue. It implements [logrus.Hook].
type hook struct {
	put func(*entry)
}

// Levels implements [logrus.Hook].
func (hook) Levels() []logrus.Level { return logrus.AllLevels }

// Fire implements [logrus.Hook]. It does not block.
func (h hook) Fire(from *logrus.Entry) error {
	event, _ := from.Data[eventKey].(Event)
	e := newEntry(event, from.Time, from.Message)
	if v, ok := from.Data[visitKey].(service.Visit); ok {
		e.addVisit(v)
	} else {
		for _, key := range slices.Sorted(maps.Keys(from.Data)) {
			if key != eventKey {
				e.add(key, from.Data[key])
			}
		}
	}
	h.put(e)
	return nil
}

// silent is the formatter of the logger: the hook has taken the entry already.
type silent struct{}

// Format implements [logrus.Formatter].
func (silent) Format(*logrus.Entry) ([]byte, error) { return nil, nil }
