package journal

import (
	"cmp"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"
)

// FlushTime is the longest time that [Handler.Close] waits until entries are written.
const FlushTime = 500 * time.Millisecond

// Levels for priorities that have no level in slog.
const (
	LevelNotice   = slog.LevelInfo + 2
	LevelCritical = slog.LevelError + 4
)

// HandlerOptions are the options of [NewHandler]. The zero value is suitable for a service.
type HandlerOptions struct {
	// Level is the lowest level that is logged; nil means slog.LevelInfo.
	Level slog.Leveler

	// AddSource adds the fields CODE_FILE, CODE_LINE and CODE_FUNC.
	AddSource bool

	// Identifier is the SYSLOG_IDENTIFIER, by which journalctl -t finds the entries. If it is
	// empty, it is the name of the program.
	Identifier string

	// Prefix begins the names of all fields that come from attributes, such as "MYAPP_".
	Prefix string

	// Socket is the path of the socket of journald. If it is empty, the Handler writes to
	// DefaultSocket if Stderr is connected to journald (JOURNAL_STREAM), else to Stderr.
	Socket string

	// Stderr gets the entries if there is no journal, and otherwise a warning if journald cannot be
	// reached. nil means os.Stderr.
	Stderr *os.File

	// Fallback returns the handler that formats the entries for Stderr. It must call Write once for
	// each entry. nil means slog.NewTextHandler.
	Fallback func(w io.Writer) slog.Handler
}

// MessageID returns the attribute that sets the MESSAGE_ID of an entry: 32 hexadecimal digits, by
// which the message catalog finds the explanation of the entry. The attribute must not be in a
// group.
func MessageID(id string) slog.Attr { return slog.String(messageID, id) }

const messageID = "MESSAGE_ID"

func (o HandlerOptions) withDefaults() HandlerOptions {
	o.Level = cmp.Or[slog.Leveler](o.Level, slog.LevelInfo)
	o.Identifier = cmp.Or(o.Identifier, filepath.Base(os.Args[0]))
	o.Stderr = cmp.Or(o.Stderr, os.Stderr)
	if o.Fallback == nil {
		o.Fallback = func(w io.Writer) slog.Handler {
			return slog.NewTextHandler(w, &slog.HandlerOptions{AddSource: o.AddSource, Level: o.Level})
		}
	}
	return o
}
