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
	s := r.Summary(Window{at(0), at(500)})
	if s.Asked != 4 || s.Lost() != 1 || s.Counts[NotAsked] != 1 || s.Example != "refused!" {
		t.Errorf("summary: %+v", s)
	}
	if s.Gap != 310*time.Millisecond || !s.GapEnded.Equal(at(320)) {
		t.Errorf("gap of %v, ended %v", s.Gap, s.GapEnded.Sub(begin))
	}
	if got := s.Again(time.Second); !got.Equal(at(320)) {
		t.Errorf("served again at %v", got.Sub(begin))
	}
	if got := r.Summary(Window{at(0), at(10)}).Again(time.Second); !got.Equal(at(10)) {
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
	s := r.Summary(Window{begin, begin.Add(3 * time.Second)})
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
