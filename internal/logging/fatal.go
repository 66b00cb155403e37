package logging

import (
	"os"
	"strings"
	"time"

	"greetd.example/pkg/journal"
)

// Fatal writes to stderr, at once and independent of any Log, why the process ends.
// Where stderr goes to journald each line has the priority of an error; else it begins
// with the program's name. It waits for a stderr that blocks at most half a second. The
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
