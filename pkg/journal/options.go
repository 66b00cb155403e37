package journal

import (
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"
)

// FlushTime is how long [Handler.Close] waits for entries to be written.
const FlushTime = 500 * time.Millisecond

// Levels of priorities that slog has no name for.
const (
	LevelNotice   = slog.LevelInfo + 2
	LevelCritical = slog.LevelError + 4
)

// HandlerOptions are the options of [NewHandler]. The zero value is good for a service.
type HandlerOptions struct {
	// Level is the least level that is logged; nil means slog.LevelInfo.
	Level slog.Leveler

	// AddSource adds CODE_FILE, CODE_LINE and CODE_FUNC.
	AddSource bool

	// Identifier is SYSLOG_IDENTIFIER, by which journalctl -t finds the entries. If it is
	// empty, it is the name of the program.
	Identifier string

	// Prefix begins the names of all fields that come from attributes, such as "MYAPP_".
	Prefix string

	// Socket is the path of journald's socket. If it is empty, entries go to DefaultSocket
	// where Stderr goes to journald, which systemd says in JOURNAL_STREAM, and to Stderr
	// elsewhere.
	Socket string

	// Stderr is where entries go without a journal, and warnings that they don't arrive
	// there. nil means os.Stderr.
	Stderr *os.File

	// Fallback returns the handler that formats entries for Stderr, and calls Write once
	// for each. nil means slog.NewTextHandler.
	Fallback func(w io.Writer) slog.Handler
}

// MessageID returns the attribute that sets the MESSAGE_ID of an entry, 32 hexadecimal
// digits, by which the message catalog explains it. It must not be in a group.
func MessageID(id string) slog.Attr { return slog.String(messageID, id) }

const messageID = "MESSAGE_ID"

func (o HandlerOptions) withDefaults() HandlerOptions {
	if o.Level == nil {
		o.Level = slog.LevelInfo
	}
	if o.Identifier == "" {
		o.Identifier = filepath.Base(os.Args[0])
	}
	if o.Stderr == nil {
		o.Stderr = os.Stderr
	}
	if o.Fallback == nil {
		o.Fallback = func(w io.Writer) slog.Handler {
			return slog.NewTextHandler(w, &slog.HandlerOptions{AddSource: o.AddSource, Level: o.Level})
		}
	}
	return o
}
