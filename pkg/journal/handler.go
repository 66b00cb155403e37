//go:build linux

package journal

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	valueLimit  = 32 << 10  // a value is cut at this length
	entryLimit  = 128 << 10 // values are cut further if an entry is longer: it must fit in a datagram
	reportEvery = time.Second
)

// A Handler is a [slog.Handler] that writes to journald, or to stderr if there is no journal. It
// never blocks. All its methods may be called at once. The handlers that WithAttrs and WithGroup
// return share its queue.
//
//   - A record becomes one entry with MESSAGE, SYSLOG_IDENTIFIER and SYSLOG_TIMESTAMP, the time in
//     microseconds since 1970.
//   - PRIORITY is 7 below slog.LevelInfo, 6 from slog.LevelInfo, 5 from LevelNotice, 4 from
//     slog.LevelWarn, 3 from slog.LevelError and 2 from LevelCritical.
//   - An attribute becomes a field with its name in capitals. The groups that contain it precede
//     the name, joined by _, as in HTTP_STATUS. Letters that journald does not accept become _. If
//     a name does not begin with a letter, or is one of the names above, it gets the prefix X_.
//     MESSAGE_ID is not changed; see [MessageID].
//   - A value of more than 32 KiB is cut. All values are cut further if the entry is longer than
//     128 KiB.
//   - If the queue is full, entries are dropped. Their number is logged when there is room again,
//     as a warning with the field DROPPED.
type Handler struct {
	*sender
	path   string         // prefix of the fields: Options.Prefix and the groups
	fields []byte         // attributes from WithAttrs, encoded
	text   []slog.Handler // by Priority, instead of path and fields, without a journal
}

// A sender has what related Handlers share.
type sender struct {
	options    HandlerOptions
	identifier []byte // the field SYSLOG_IDENTIFIER
	toText     bool   // to stderr
	angle      bool   // with the priority as <N> before each line
	writer     *Writer[*line]
	dropped    atomic.Uint64

	mu      sync.Mutex
	pending uint64    // dropped entries that were not reported yet
	since   time.Time // when the first of them was dropped
}

// A line is an entry in the form of the output.
type line struct {
	text    []byte
	value   []byte // of the field that is being appended
	reports uint64 // how many dropped entries it reports
}

var lines = sync.Pool{New: func() any { return new(line) }}

func newLine() *line {
	e := lines.Get().(*line)
	e.text, e.reports = e.text[:0], 0
	return e
}

// NewHandler returns a Handler. It is not an error if journald cannot be reached: entries then wait
// for it. Call Close at the end, or the last entries may be lost.
func NewHandler(o HandlerOptions) (*Handler, error) {
	o = o.withDefaults()
	s := &sender{options: o, identifier: AppendField(nil, "", "SYSLOG_IDENTIFIER", []byte(o.Identifier))}
	out, err := s.output()
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	s.writer, err = NewWriter(out, Hooks[*line]{Next: s.next, Done: s.done, Failing: s.failing, Recovered: s.recovered})
	if err != nil {
		return nil, err
	}
	h := &Handler{sender: s, path: o.Prefix}
	if s.toText {
		for p := range PriDebug + 1 {
			h.text = append(h.text, o.Fallback(lineWriter{s, p}))
		}
	}
	return h, nil
}

func (s *sender) output() (*Output[*line], error) {
	toJournal := IsJournal(s.options.Stderr)
	if forced := s.options.Socket != ""; forced || toJournal {
		socket, err := Dial(cmp.Or(s.options.Socket, DefaultSocket))
		if forced || err == nil {
			return &Output[*line]{Name: "journald", Encode: s.append, Conn: socket}, nil
		}
	}
	s.toText, s.angle = true, toJournal
	stream, err := OpenStream(s.options.Stderr)
	return &Output[*line]{Name: "stderr", Encode: s.append, Conn: stream}, err
}

// Dropped returns the number of entries that were dropped since NewHandler, because the queue was
// full, the Handler was closed, or Close ran out of time.
func (h *Handler) Dropped() uint64 { return h.dropped.Load() }

// Close writes the entries in the queue, for at most FlushTime. It returns [ErrNotWritten] if some
// are left. Records that are logged after Close are dropped.
func (h *Handler) Close() error { return h.writer.Close(FlushTime) }

// Enabled implements [slog.Handler].
func (h *Handler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.options.Level.Level()
}

// Handle implements [slog.Handler]. It does not block, and always returns nil, also if the record
// is dropped.
func (h *Handler) Handle(ctx context.Context, r slog.Record) error {
	p := priority(r.Level)
	if h.text != nil {
		return h.text[p].Handle(ctx, r)
	}
	e := newLine()
	h.encode(e, r, valueLimit)
	for limit := valueLimit / 2; len(e.text) > entryLimit && limit >= minLimit; limit /= 2 {
		h.encode(e, r, limit)
	}
	h.writer.Put(e, p <= PriWarning)
	return nil
}

// WithAttrs implements [slog.Handler].
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	next := *h
	e := line{text: slices.Clone(h.fields)}
	for _, a := range attrs {
		h.appendAttr(&e, h.path, a, valueLimit)
	}
	next.fields = e.text
	next.text = mapped(h.text, func(t slog.Handler) slog.Handler { return t.WithAttrs(attrs) })
	return &next
}

// WithGroup implements [slog.Handler].
func (h *Handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	next := *h
	next.path += name + "_"
	next.text = mapped(h.text, func(t slog.Handler) slog.Handler { return t.WithGroup(name) })
	return &next
}

func mapped(from []slog.Handler, f func(slog.Handler) slog.Handler) (to []slog.Handler) {
	for _, h := range from {
		to = append(to, f(h))
	}
	return to
}

// priority returns the priority of entries at that level. It is never 0 (emergency): journald writes
// such entries to all terminals.
func priority(level slog.Level) Priority {
	switch {
	case level < slog.LevelInfo:
		return PriDebug
	case level < LevelNotice:
		return PriInfo
	case level < slog.LevelWarn:
		return PriNotice
	case level < slog.LevelError:
		return PriWarning
	case level < LevelCritical:
		return PriErr
	default:
		return PriCrit
	}
}

// encode encodes r into e in the native format, with no value longer than limit.
func (h *Handler) encode(e *line, r slog.Record, limit int) {
	e.value = append(e.value[:0], r.Message...)
	e.text = h.appendHead(e.text[:0], priority(r.Level), Cut(e.value, limit))
	if !r.Time.IsZero() {
		e.text = append(strconv.AppendInt(append(e.text, "SYSLOG_TIMESTAMP="...), r.Time.UnixMicro(), 10), '\n')
	}
	if h.options.AddSource && r.PC != 0 {
		frame, _ := runtime.CallersFrames([]uintptr{r.PC}).Next()
		e.text = AppendField(e.text, "", "CODE_FILE", []byte(frame.File))
		e.text = AppendField(e.text, "", "CODE_FUNC", []byte(frame.Function))
		e.text = append(strconv.AppendInt(append(e.text, "CODE_LINE="...), int64(frame.Line), 10), '\n')
	}
	e.text = append(e.text, h.fields...)
	r.Attrs(func(a slog.Attr) bool {
		h.appendAttr(e, h.path, a, limit)
		return true
	})
}

func (s *sender) appendHead(dst []byte, p Priority, message []byte) []byte {
	dst = AppendField(dst, "", "MESSAGE", message)
	dst = append(append(dst, "PRIORITY="...), '0'+byte(p), '\n')
	return append(dst, s.identifier...)
}

// appendAttr appends a. If a is a group, it appends all attributes of the group.
func (h *Handler) appendAttr(e *line, path string, a slog.Attr, limit int) {
	value := a.Value.Resolve()
	switch {
	case a.Equal(slog.Attr{}):
		return
	case value.Kind() == slog.KindGroup:
		if a.Key != "" {
			path += a.Key + "_"
		}
		for _, member := range value.Group() {
			h.appendAttr(e, path, member, limit)
		}
		return
	case a.Key == messageID && path == h.options.Prefix:
		path = ""
	case !validName(path, a.Key):
		path = "X_" + path
	}
	e.value = appendValue(e.value[:0], value)
	e.text = AppendField(e.text, path, a.Key, Cut(e.value, limit))
}

// validName reports whether the field of an attribute may have that name.
func validName(path, key string) bool {
	if path == "" {
		switch strings.ToUpper(key) {
		case "", "MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER", "SYSLOG_TIMESTAMP":
			return false
		}
		path = key
	}
	first := path[0] | 0x20
	return 'a' <= first && first <= 'z'
}

func appendValue(dst []byte, v slog.Value) []byte {
	switch v.Kind() {
	case slog.KindInt64:
		return strconv.AppendInt(dst, v.Int64(), 10)
	case slog.KindUint64:
		return strconv.AppendUint(dst, v.Uint64(), 10)
	case slog.KindTime:
		return v.Time().AppendFormat(dst, time.RFC3339Nano)
	case slog.KindAny:
		if data, ok := v.Any().([]byte); ok {
			return append(dst, data...)
		}
		return fmt.Append(dst, v.Any())
	default:
		return append(dst, v.String()...)
	}
}

// A lineWriter puts each line that is written to it into the queue, with a priority.
type lineWriter struct {
	*sender
	priority Priority
}

// Write implements [io.Writer] for the fallback.
func (w lineWriter) Write(b []byte) (int, error) {
	e := newLine()
	if w.angle {
		e.text = append(e.text, '<', '0'+byte(w.priority), '>')
	}
	e.text = append(e.text, b...)
	w.writer.Put(e, w.priority <= PriWarning)
	return len(b), nil
}

// append implements [Output]: a line is encoded already.
func (s *sender) append(dst []byte, e *line, _ int) []byte { return append(dst, e.text...) }

// done implements [Hooks].
func (s *sender) done(e *line, written bool) {
	if !written {
		s.mu.Lock()
		if s.pending == 0 {
			s.since = time.Now()
		}
		if e.reports == 0 {
			s.dropped.Add(1)
			s.pending++
		}
		s.pending += e.reports
		s.mu.Unlock()
	}
	if cap(e.text) <= 8<<10 { // do not keep the memory of a rare large entry
		lines.Put(e)
	}
}

// next implements [Hooks]: it reports drops when no entry waits, and under load once a
// second.
func (s *sender) next(state State) (e *line, ok bool, again time.Time) {
	var n uint64
	s.mu.Lock()
	if state.Idle || time.Since(s.since) >= reportEvery { // else it is too early
		n, s.pending = s.pending, 0
	}
	s.mu.Unlock()
	if n == 0 {
		return nil, false, again
	}
	message := fmt.Sprintf("dropped %d log entries: %s did not accept them in time", n, state.Output)
	return &line{text: s.report(message, n), reports: n}, true, again
}

// report returns a warning in the format of the output.
func (s *sender) report(message string, dropped uint64) []byte {
	if !s.toText {
		return AppendField(s.appendHead(nil, PriWarning, []byte(message)), "", "DROPPED", strconv.AppendUint(nil, dropped, 10))
	}
	var text bytes.Buffer
	if s.angle {
		text.WriteString("<4>")
	}
	r := slog.NewRecord(time.Now(), slog.LevelWarn, message, 0)
	r.Add("dropped", dropped)
	_ = s.options.Fallback(&text).Handle(context.Background(), r) // a buffer accepts everything
	return text.Bytes()
}

// failing implements [Hooks].
func (s *sender) failing(output string, err error) {
	if !s.toText {
		message := fmt.Sprintf("%s: cannot log to %s: %v; queueing up to %d entries, then dropping\n", s.options.Identifier, output, err, QueueSize)
		_ = WriteFile(s.options.Stderr, []byte(message), time.Now())
	}
}

func (s *sender) recovered(string, time.Duration, error) {}
