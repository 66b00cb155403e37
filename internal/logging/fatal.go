package logging

import (
	"os"
	"strings"
	"time"

	"greetd.example/pkg/journal"
)

// Fatal writes message, the reason why the process ends, to the file to, at once and without a Log. The
// file is usually stderr. If it goes to journald, each line has the priority of an error; otherwise the
// message begins with the name of the program. If a write blocks, Fatal waits at most half a second. The
// error is that of the write.
func Fatal(to *os.File, message string) error {
	return newStandard(to).write(message, flushTime)
}

// write writes message to s at once. It waits at most timeout for that.
func (s standard) write(message string, timeout time.Duration) error {
	message = strings.TrimRight(message, "\n")
	text := []byte(identifier + ": " + message + "\n")
	if s.journal {
		text = text[:0]
		for line := range strings.SplitSeq(message, "\n") {
			text = append(append(appendPriority(text, journal.PriErr), line...), '\n')
		}
	}
	return journal.WriteFile(s.File, text, time.Now().Add(timeout))
}
