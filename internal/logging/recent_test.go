package logging

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"greetd.example/internal/test/journald"
	"greetd.example/pkg/journal"
	"greetd.example/pkg/service"
)

func TestProblemsAreRemembered(t *testing.T) {
	j := journald.Start(t) // which reads nothing: problems are remembered all the same
	o := defaults
	o.Rate = 0
	l := openTo(t, j, o)
	if got := l.Problems(); len(got) != 0 {
		t.Errorf("at the start: %v, want none", got)
	}
	began := time.Now()
	l.Event(Ready, "greetd is ready")
	l.Closed(visit(1, service.Greeted))
	l.Event(ConfigWarning, "odd")
	l.Closed(visit(2, service.Failed))
	got := l.Problems()
	if len(got) != 2 || got[0].Message != "failed 192.0.2.7:51234 on greet, 25 bytes in 1.2 ms: because" || got[0].Level != "error" ||
		got[1].Message != "odd" || got[1].Level != "warning" {
		t.Errorf("%+v, want the failed visit and then the warning", got)
	}
	for _, p := range got {
		if p.At.Before(began) || p.At.After(time.Now()) {
			t.Errorf("%q at %v", p.Message, p.At)
		}
	}

	for i := range 120 {
		l.Event(ConfigWarning, fmt.Sprintf("odd %d", i))
	}
	got = l.Problems()
	if len(got) != recentSize || got[0].Message != "odd 119" || got[recentSize-1].Message != "odd 70" {
		t.Errorf("%d problems, from %q to %q; want the last 50", len(got), got[0].Message, got[len(got)-1].Message)
	}
}

func TestDroppedEntriesAreAProblem(t *testing.T) {
	j := journald.Start(t)
	o := defaults
	o.Rate = 0
	l := openTo(t, j, o)
	for range 2 * journal.QueueSize {
		l.Closed(visit(1, service.Greeted))
	}
	j.Run()
	for deadline := time.Now().Add(time.Minute); len(l.Problems()) == 0; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("nobody says that entries were dropped")
		}
	}
	if p := l.Problems()[0]; p.Level != "warning" || !strings.HasPrefix(p.Message, "dropped ") || !strings.HasSuffix(p.Message, " log entries: journald did not accept them in time") {
		t.Errorf("%+v, want a warning that entries were dropped", p)
	}
}
