package drill

import (
	"slices"
	"testing"
	"time"
)

func TestSummaryOfAWindow(t *testing.T) {
	begin := time.Unix(1000, 0)
	at := func(ms int) time.Time { return begin.Add(time.Duration(ms) * time.Millisecond) }
	var r Record
	for _, c := range []Client{
		{at(-1), at(1), Served, "", 0},           // due before
		{at(0), at(10), Served, "", 0},           // 10 ms
		{at(10), at(12), Refused, "refused!", 0}, // lost
		{at(20), at(320), Served, "", 0},         // waited: the gap is from 10 to 320
		{at(30), at(321), Served, "", 0},
		{at(40), at(41), NotAsked, "no port", 0},
		{at(500), at(501), Served, "", 0}, // due in the next one
	} {
		r.Add(c)
	}
	if !r.ServedSince(at(500)) || r.ServedSince(at(501)) {
		t.Error("the last served client was due at 500 ms")
	}
	s := r.Summary(Window{From: at(0), To: at(500)})
	if s.Asked != 4 || s.Lost() != 1 || s.Counts[NotAsked] != 1 || s.Example != "refused!" {
		t.Errorf("summary: %+v", s)
	}
	if s.Gap != 310*time.Millisecond || !s.GapEnded.Equal(at(320)) {
		t.Errorf("gap of %v, ended %v", s.Gap, s.GapEnded.Sub(begin))
	}
	if got := s.Again(time.Second); !got.Equal(at(320)) {
		t.Errorf("served again at %v", got.Sub(begin))
	}
	if got := r.Summary(Window{From: at(0), To: at(10)}).Again(time.Second); !got.Equal(at(10)) {
		t.Errorf("without a loss, served again at %v", got.Sub(begin))
	}
	if got := s.Percentile(50); got != 291*time.Millisecond {
		t.Errorf("p50 = %v", got)
	}
	if got := s.Percentile(100); got != 300*time.Millisecond {
		t.Errorf("worst = %v", got)
	}
	if got := (Summary{}).Percentile(99); got != 0 {
		t.Errorf("of none: %v", got)
	}
}

// A server that does not come back has a gap to the end of the window.
func TestGapWithoutAnEnd(t *testing.T) {
	begin := time.Unix(1000, 0)
	var r Record
	r.Add(Client{begin, begin.Add(time.Millisecond), Served, "", 0})
	r.Add(Client{begin.Add(time.Second), begin.Add(time.Second), Refused, "no", 0})
	s := r.Summary(Window{From: begin, To: begin.Add(3 * time.Second)})
	if s.Gap != 2999*time.Millisecond || !s.GapEnded.IsZero() {
		t.Errorf("gap %v, ended %v", s.Gap, s.GapEnded)
	}
}

func TestCourse(t *testing.T) {
	begin := time.Unix(1000, 0)
	var r Record
	r.Add(Client{begin, begin.Add(2 * time.Millisecond), Served, "", 0})
	r.Add(Client{begin, begin.Add(5 * time.Millisecond), Served, "", 0})
	r.Add(Client{begin.Add(time.Second), begin.Add(time.Second), Reset, "", 0})
	r.Add(Client{begin.Add(time.Second), begin.Add(2 * time.Second), Served, "", 0})
	r.Add(Client{begin, begin, NotAsked, "no", 0})
	got := r.Course(begin, begin.Add(2500*time.Millisecond), time.Second)
	want := []Slice{{2, 0, 5 * time.Millisecond}, {1, 1, time.Second}, {}}
	if !slices.Equal(got, want) {
		t.Errorf("course: %v", got)
	}
}

// A client that is due before a step, and cut off by it, counts for the step: each client counts for one window.
func TestBrokenConnectionsCountForTheStepThatBrokeThem(t *testing.T) {
	begin := time.Unix(1000, 0)
	at := func(ms int) time.Time { return begin.Add(time.Duration(ms) * time.Millisecond) }
	for outcome, want := range map[Outcome][3]int{
		Served: {1, 0, 0}, Refused: {1, 0, 0}, TimedOut: {1, 0, 0}, Other: {1, 0, 0}, Reset: {0, 1, 0}, Cut: {0, 1, 0},
	} {
		var r Record
		r.Add(Client{at(90), at(110), outcome, "", 0})
		for i, w := range []Window{
			{From: begin, To: at(100)},
			{From: at(100), To: at(200)},
			{From: at(200), To: at(300), Last: true},
		} {
			if s := r.Summary(w); s.Asked != want[i] || s.Counts[outcome] != want[i] {
				t.Errorf("%s: window %d: %+v", outcome, i, s)
			}
		}
	}
	var late Record
	late.Add(Client{at(90), at(500), Reset, "", 0})
	if s := late.Summary(Window{From: begin, To: at(100), Last: true}); s.Lost() != 1 || s.Gap != 100*time.Millisecond {
		t.Errorf("broken after the end: %+v", s)
	}
	if got := late.Course(begin, at(100), 10*time.Millisecond); got[9].Lost != 1 {
		t.Errorf("course: %v", got)
	}
}

func TestPercentiles(t *testing.T) {
	var s Summary
	for i := range 100 {
		s.Latency = append(s.Latency, time.Duration(i+1))
	}
	for p, want := range map[float64]time.Duration{0: 1, 50: 50, 99: 99, 99.5: 100, 100: 100} {
		if got := s.Percentile(p); got != want {
			t.Errorf("p%v = %d, want %d", p, got, want)
		}
	}
}
