package logging

import (
	"sync"
	"time"
)

// recentSize is how many problems are remembered.
const recentSize = 50

// A Problem is a warning, or worse, that was logged.
type Problem struct {
	At      time.Time
	Level   string // panic, fatal, error or warning
	Message string
}

// recent remembers the last problems, whether or not their entries get anywhere.
type recent struct {
	mu   sync.Mutex
	ring [recentSize]Problem
	seen uint64
}

// add remembers e if it is a warning or worse.
func (r *recent) add(e *entry) {
	if !e.urgent() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ring[r.seen%recentSize] = Problem{e.time, e.level.String(), string(e.text[:e.message])}
	r.seen++
}

// Problems returns the last 50 warnings, errors and worse, newest first. Those that
// the level, or the rate for visits, left out are not among them.
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
