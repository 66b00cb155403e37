package logging

import (
	"slices"
	"sync"
	"time"
)

const recentSize = 50 // problems are kept

// A Problem is a warning, or worse, that was logged.
type Problem struct {
	At      time.Time
	Level   string // panic, fatal, error or warning
	Message string
}

// recent keeps the last problems, even if their entries do not reach the output.
type recent struct {
	mu       sync.Mutex
	problems []Problem // the newest last
}

func (r *recent) add(e *entry) {
	if !e.urgent() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.problems) == recentSize {
		r.problems = slices.Delete(r.problems, 0, 1)
	}
	r.problems = append(r.problems, Problem{e.time, e.level.String(), string(e.text[:e.message])})
}

// Problems returns the last 50 entries that are warnings or worse, newest first. It does not include entries
// that were not logged because of the level or of the rate for visits.
func (l *Log) Problems() []Problem {
	l.recent.mu.Lock()
	defer l.recent.mu.Unlock()
	problems := slices.Clone(l.recent.problems)
	slices.Reverse(problems)
	return problems
}
