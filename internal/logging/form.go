package logging

import (
	"bytes"
	"encoding/json"
	"log/syslog"
	"os"
	"strconv"
	"time"

	"greetd.example/internal/words"
	"greetd.example/pkg/journal"
)

const (
	identifier = "greetd" // SYSLOG_IDENTIFIER, the tag in syslog

	// microseconds is the time format of RFC 3339 with microseconds.
	microseconds = "2006-01-02T15:04:05.000000Z07:00"
)

// A nativeForm formats an entry for the native protocol of the journal.
type nativeForm struct{}

func (nativeForm) append(dst []byte, e *entry, limit int) []byte {
	dst = journal.AppendField(dst, "", "MESSAGE", journal.Cut(e.text[:e.message], limit))
	dst = append(dst, "PRIORITY="...)
	dst = strconv.AppendInt(dst, int64(e.priority), 10)
	dst = append(dst, "\nSYSLOG_IDENTIFIER="+identifier+"\nMESSAGE_ID="...)
	dst = append(dst, e.event.ID()...)
	dst = append(dst, '\n')
	for f, value := range e.all {
		dst = journal.AppendField(dst, "GREETD_", f.key, journal.Cut(value, limit))
	}
	return dst
}

// A jsonForm formats an entry as a JSON object in one line, for stdout or stderr.
type jsonForm struct {
	journal bool // the stream goes to journald, which reads the priority from <N>
}

func (f jsonForm) append(dst []byte, e *entry, limit int) []byte {
	if f.journal {
		dst = appendPriority(dst, e.priority)
	}
	return append(object(dst, e, limit), '\n')
}

// object appends e as a JSON object in valid UTF-8, without a newline.
func object(dst []byte, e *entry, limit int) []byte {
	dst = append(dst, `{"time":"`...)
	dst = e.time.AppendFormat(dst, microseconds)
	dst = append(dst, `","level":"`...)
	dst = append(dst, e.level.String()...)
	dst = append(dst, `","msg":`...)
	dst = appendJSON(dst, journal.Cut(e.text[:e.message], limit))
	dst = append(dst, `,"message_id":"`...)
	dst = append(dst, e.event.ID()...)
	dst = append(dst, `","priority":`...)
	dst = strconv.AppendInt(dst, int64(e.priority), 10)
	for f, value := range e.all {
		dst = append(dst, ',')
		switch f.key {
		case "time", "level", "msg", "message_id", "priority":
			dst = appendJSON(dst, []byte("fields."+f.key)) // as logrus does
		default:
			dst = appendJSON(dst, []byte(f.key))
		}
		dst = append(dst, ':')
		if f.bare {
			dst = append(dst, value...)
		} else {
			dst = appendJSON(dst, journal.Cut(value, limit))
		}
	}
	return append(dst, '}')
}

// appendJSON appends value as a JSON string. It replaces bytes that are not UTF-8 by U+FFFD.
func appendJSON(dst, value []byte) []byte {
	quoted, _ := json.Marshal(string(value)) // a string can always be marshalled
	return append(dst, quoted...)
}

// plain appends the message of e as one printable line, without a newline.
func plain(dst []byte, e *entry, limit int) []byte {
	return words.AppendPrintable(dst, journal.Cut(e.text[:e.message], limit))
}

// levelWords and levelColors are indexed by priority.
var (
	levelWords  = [...]string{"panic", "alert", "fatal", "error", "warning", "notice", "info", "debug"}
	levelColors = [...]string{"1;31", "1;31", "1;31", "31", "33", "36", "32", "2"}
)

// A textForm formats an entry as one line of text for stdout or stderr. If the entry has a stack, one line
// for each line of the stack follows.
type textForm struct {
	journal  bool // the stream goes to journald, which adds the time and reads the priority from <N>
	terminal bool // the stream is a terminal: the time has no date
	color    bool
}

func (f textForm) append(dst []byte, e *entry, limit int) []byte {
	dst = f.begin(dst, e.priority, e.time)
	dst = append(plain(dst, e, limit), '\n')
	for field, value := range e.all {
		if field.key != "stack" {
			continue
		}
		for line := range bytes.Lines(journal.Cut(value, limit)) {
			dst = f.begin(dst, e.priority, e.time)
			dst = append(dst, "    "...)
			line = bytes.ReplaceAll(bytes.TrimRight(line, "\n"), []byte("\t"), []byte("    "))
			dst = append(words.AppendPrintable(dst, line), '\n')
		}
	}
	return dst
}

// begin appends the beginning of a line: the priority for journald, or the time and the level.
func (f textForm) begin(dst []byte, priority journal.Priority, now time.Time) []byte {
	switch {
	case f.journal:
		return appendPriority(dst, priority)
	case f.terminal:
		dst = now.AppendFormat(dst, time.TimeOnly)
	default:
		dst = now.AppendFormat(dst, microseconds)
	}
	dst = append(dst, ' ')
	if f.color {
		dst = append(dst, "\x1b["+levelColors[priority]+"m"...)
	}
	dst = append(dst, levelWords[priority]...)
	if f.color {
		dst = append(dst, "\x1b[0m"...)
	}
	return append(dst, ' ')
}

// appendPriority appends the prefix <N> with the priority, for a line that goes to journald.
func appendPriority(dst []byte, priority journal.Priority) []byte {
	return append(dst, '<', '0'+byte(priority), '>')
}

// A syslogForm formats an entry for a local syslog socket: <PRI>TIMESTAMP TAG[PID]: MSG, as log/syslog and
// syslog(3) do.
type syslogForm struct {
	json bool
}

func (f syslogForm) append(dst []byte, e *entry, limit int) []byte {
	dst = append(dst, '<')
	dst = strconv.AppendInt(dst, int64(syslog.LOG_DAEMON)|int64(e.priority), 10)
	dst = append(dst, '>')
	dst = e.time.AppendFormat(dst, time.Stamp)
	dst = append(dst, " "+identifier+"["...)
	dst = append(strconv.AppendInt(dst, int64(os.Getpid()), 10), "]: "...)
	if f.json {
		dst = object(dst, e, limit)
	} else {
		dst = plain(dst, e, limit)
	}
	return append(dst, '\n')
}

// appendDuration appends d with a unit that fits its size.
func appendDuration(dst []byte, d time.Duration) []byte {
	switch {
	case d < time.Millisecond:
		return append(strconv.AppendInt(dst, d.Microseconds(), 10), " us"...)
	case d < time.Second:
		return append(strconv.AppendFloat(dst, float64(d)/float64(time.Millisecond), 'f', 1, 64), " ms"...)
	case d < time.Minute:
		return append(strconv.AppendFloat(dst, d.Seconds(), 'f', 1, 64), " s"...)
	default:
		return append(dst, d.Round(time.Second).String()...)
	}
}

func duration(d time.Duration) string { return string(appendDuration(nil, d)) }
