package logging

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"log/syslog"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/coreos/go-systemd/v22/journal"
)

const (
	identifier = "greetd" // SYSLOG_IDENTIFIER, the tag in syslog

	// microseconds is RFC 3339 with microseconds.
	microseconds = "2006-01-02T15:04:05.000000Z07:00"
)

// A form appends an entry to dst as its output takes it, and returns the extended
// slice. No value is longer than limit bytes in it.
type form func(dst []byte, e *entry, limit int) []byte

// native is the form of the journal's native protocol
// (https://systemd.io/JOURNAL_NATIVE_PROTOCOL). Any bytes in a value arrive as they
// are.
func native(dst []byte, e *entry, limit int) []byte {
	dst = nativeField(dst, "", "MESSAGE", cut(e.text[:e.message], limit))
	dst = append(dst, "PRIORITY="...)
	dst = strconv.AppendInt(dst, int64(e.priority), 10)
	dst = append(dst, "\nSYSLOG_IDENTIFIER="+identifier+"\nMESSAGE_ID="...)
	dst = append(dst, e.event.ID()...)
	dst = append(dst, '\n')
	for f, value := range e.all {
		dst = nativeField(dst, "GREETD_", f.key, cut(value, limit))
	}
	return dst
}

func nativeField(dst []byte, prefix, key string, value []byte) []byte {
	dst = append(dst, prefix...)
	dst = appendKey(dst, key, 64-len(prefix))
	if bytes.IndexFunc(value, func(r rune) bool { return r < ' ' && r != '\t' }) < 0 {
		dst = append(dst, '=')
	} else {
		dst = append(dst, '\n')
		dst = binary.LittleEndian.AppendUint64(dst, uint64(len(value)))
	}
	dst = append(dst, value...)
	return append(dst, '\n')
}

// appendKey appends key in the letters that journald takes (A-Z, 0-9 and _), for it
// drops a field of any other name in silence.
func appendKey(dst []byte, key string, limit int) []byte {
	for _, c := range []byte(key[:min(len(key), limit)]) {
		switch {
		case 'a' <= c && c <= 'z':
			c -= 'a' - 'A'
		case 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		default:
			c = '_'
		}
		dst = append(dst, c)
	}
	return dst
}

// object appends e as a JSON object in valid UTF-8, without a newline.
func object(dst []byte, e *entry, limit int) []byte {
	dst = append(dst, `{"time":"`...)
	dst = e.time.AppendFormat(dst, microseconds)
	dst = append(dst, `","level":"`...)
	dst = append(dst, e.level.String()...)
	dst = append(dst, `","msg":`...)
	dst = appendJSON(dst, cut(e.text[:e.message], limit))
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
			dst = appendJSON(dst, cut(value, limit))
		}
	}
	return append(dst, '}')
}

// appendJSON appends value as a JSON string. What is not UTF-8 becomes U+FFFD.
func appendJSON(dst, value []byte) []byte {
	quoted, _ := json.Marshal(string(value)) // a string can always be marshalled
	return append(dst, quoted...)
}

// plain appends the message of e as one printable line without its end.
func plain(dst []byte, e *entry, limit int) []byte {
	return appendPrintable(dst, cut(e.text[:e.message], limit))
}

// levelWords and levelColors are indexed by priority.
var (
	levelWords  = [...]string{"panic", "alert", "fatal", "error", "warning", "notice", "info", "debug"}
	levelColors = [...]string{"1;31", "1;31", "1;31", "31", "33", "36", "32", "2"}
)

// A page is how stdout or stderr wants its lines.
type page struct {
	journal  bool // goes to journald, which adds the time and takes the priority as <N>
	terminal bool // somebody reads along
	color    bool
	object   bool // JSON
}

// line is the form of these: a line for the entry, and for a stack one for each of
// its lines.
func (p page) line(dst []byte, e *entry, limit int) []byte {
	dst = p.begin(dst, e.priority, e.time)
	if p.object {
		return append(object(dst, e, limit), '\n')
	}
	dst = append(plain(dst, e, limit), '\n')
	for f, value := range e.all {
		if f.key != "stack" {
			continue
		}
		for line := range bytes.Lines(cut(value, limit)) {
			dst = p.begin(dst, e.priority, e.time)
			dst = append(dst, "    "...)
			line = bytes.ReplaceAll(bytes.TrimRight(line, "\n"), []byte("\t"), []byte("    "))
			dst = append(appendPrintable(dst, line), '\n')
		}
	}
	return dst
}

// begin appends what comes before the message.
func (p page) begin(dst []byte, priority journal.Priority, now time.Time) []byte {
	switch {
	case p.journal:
		return append(dst, '<', '0'+byte(priority), '>')
	case p.object:
		return dst
	case p.terminal:
		dst = now.AppendFormat(dst, time.TimeOnly)
	default:
		dst = now.AppendFormat(dst, microseconds)
	}
	dst = append(dst, ' ')
	if p.color {
		dst = append(dst, "\x1b["+levelColors[priority]+"m"...)
	}
	dst = append(dst, levelWords[priority]...)
	if p.color {
		dst = append(dst, "\x1b[0m"...)
	}
	return append(dst, ' ')
}

// datagram returns the form of a local syslog socket with body as the message:
// <PRI>TIMESTAMP TAG[PID]: MSG, as log/syslog and syslog(3) send it.
func datagram(body form) form {
	tag := " " + identifier + "[" + strconv.Itoa(os.Getpid()) + "]: "
	return func(dst []byte, e *entry, limit int) []byte {
		dst = append(dst, '<')
		dst = strconv.AppendInt(dst, int64(syslog.LOG_DAEMON)|int64(e.priority), 10)
		dst = append(dst, '>')
		dst = e.time.AppendFormat(dst, time.Stamp)
		dst = append(dst, tag...)
		return append(body(dst, e, limit), '\n')
	}
}

// cut returns value, or its first limit bytes at most, whole characters and an
// ellipsis, if it is longer than that.
func cut(value []byte, limit int) []byte {
	const ellipsis = "…"
	if len(value) <= limit {
		return value
	}
	end := max(limit-len(ellipsis), 0)
	for i := 0; i < utf8.UTFMax-1 && end > 0 && !utf8.RuneStart(value[end]); i++ {
		end--
	}
	return append(bytes.Clone(value[:end]), ellipsis...)
}

// appendPrintable appends text with everything that can't be printed, a newline
// above all, in the manner of a Go string.
func appendPrintable(dst, text []byte) []byte {
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		if r == utf8.RuneError && size == 1 || !strconv.IsPrint(r) {
			quoted := strconv.Quote(string(text[:size]))
			dst = append(dst, strings.Trim(quoted, `"`)...)
		} else {
			dst = append(dst, text[:size]...)
		}
		text = text[size:]
	}
	return dst
}
