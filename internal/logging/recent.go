package logging

import (
	"sync"
	"time"
)

// recentSize is the number of problems that are kept.
const recentSize = 50

// A Problem is a warning, or worse, that was logged.
type Problem struct {
	At      time.Time
	Level   string // panic, fatal, error or warning
	Message string
}

// recent keeps the last problems, even if their entries do not reach the output.
type recent struct {
	mu   sync.Mutex
	ring [recentSize]Problem
	seen uint64
}

// add adds e if it is a warning or worse.
func (r *recent) add(e *entry) {
	if !e.urgent() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ring[r.seen%recentSize] = Problem{e.time, e.level.String(), string(e.text[:e.message])}
	r.seen++
}

// Problems returns the last 50 entries that are warnings or worse, newest first. It does not include entries
// that were not logged because of the level or of the rate for visits.
func (l *Log) Problems() []Problem {
	r := &l.recent
	r.mu.Lock()
	defer r.mu.Unlock()
	problems := make([]Problem, 0, min(r.seen, recentSize))
	for i := range uint64(cap(problems)) {
		problems = append(problems, r.ring[(r.seen-1-i)%recentSize])
	}
	return problems
}
