package logging

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
	"github.com/sirupsen/logrus"
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

// add appends a field. A nil value is left out.
func (e *entry) add(key string, value any) {
	bare := true
	switch v := value.(type) {
	case nil:
		return
	case string:
		e.text, bare = append(e.text, v...), false
	case int:
		e.text = strconv.AppendInt(e.text, int64(v), 10)
	case int64:
		e.text = strconv.AppendInt(e.text, v, 10)
	case uint64:
		e.text = strconv.AppendUint(e.text, v, 10)
	case uint16:
		e.text = strconv.AppendUint(e.text, uint64(v), 10)
	case bool:
		e.text = strconv.AppendBool(e.text, v)
	case netip.Addr:
		e.text, bare = v.AppendTo(e.text), false
	case []byte:
		e.text, bare = append(e.text, v...), false
	default:
		e.text, bare = fmt.Append(e.text, v), false
	}
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

// eventKey is where the Event stands among the fields of a logrus entry.
const eventKey = "event"

// fieldOrder is how the fields of a visit are told; others follow by name.
var fieldOrder = []string{
	"visit", "listener", "remote_addr", "remote_port", "proxy_addr", "outcome", "bytes", "duration_usec", "error",
}

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
	told := 0
	for _, key := range fieldOrder {
		if value, ok := from.Data[key]; ok {
			e.add(key, value)
			told++
		}
	}
	if told < len(from.Data)-1 {
		var others [16]string
		keys := others[:0]
		for key := range from.Data {
			if key != eventKey && !slices.Contains(fieldOrder, key) {
				keys = append(keys, key)
			}
		}
		slices.Sort(keys)
		for _, key := range keys {
			e.add(key, from.Data[key])
		}
	}
	h.put(e)
	return nil
}

// silent is the formatter of the logger: the hook has taken the entry already.
type silent struct{}

// Format implements [logrus.Formatter].
func (silent) Format(*logrus.Entry) ([]byte, error) { return nil, nil }
