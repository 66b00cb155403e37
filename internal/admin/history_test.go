package admin_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"greetd.example/internal/admin"
	"greetd.example/pkg/service"
)

// bounds are those of a daemon that tells how long visits take.
var bounds = []time.Duration{time.Millisecond, 10 * time.Millisecond, time.Second}

// A pace is a daemon with numbers that grow as a test says.
type pace struct {
	greeted, refused atomic.Uint64
	counts           [4]atomic.Uint64
	active           atomic.Int64
}

func (p *pace) daemon() admin.Daemon {
	d := whole()
	d.Status = func() admin.Status {
		return admin.Status{
			Started:     time.Date(2026, 11, 20, 9, 30, 0, 0, time.UTC),
			Outcomes:    admin.Outcomes{service.Greeted: p.greeted.Load(), service.Refused: p.refused.Load()},
			Connections: admin.Connections{Active: int(p.active.Load()), Lingering: 7},
		}
	}
	d.Durations = func() ([]time.Duration, []uint64) {
		counts := make([]uint64, len(p.counts))
		for i := range p.counts {
			counts[i] = p.counts[i].Load()
		}
		return bounds, counts
	}
	return d
}

// history asks for it over c.
func history(t *testing.T, c net.Conn, query string) admin.History {
	t.Helper()
	fmt.Fprintf(c, "GET /history%s HTTP/1.1\r\nHost: localhost\r\n\r\n", query)
	got := read(t, bufio.NewReader(c), "GET")
	var h admin.History
	if err := json.Unmarshal([]byte(got.body), &h); err != nil {
		t.Fatalf("%d %q: %v", got.code, got.body, err)
	}
	return h
}

func TestHistoryTellsTheLastTenMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pace
		ln := newPipes(&net.TCPAddr{})
		serve(t, p.daemon(), ln)
		c := ln.dial()
		defer c.Close()

		if h := history(t, c, ""); len(h.Points) != 0 {
			t.Fatalf("at the start: %+v, want no points", h.Points)
		}
		synctest.Wait() // the first point counts from the sample of the start
		began := time.Now()
		for i := range 3 { // 10 visits in each second, and 1 refused: 8 are short, 2 take long
			p.greeted.Add(10)
			p.refused.Add(1)
			p.counts[1].Add(9)
			p.counts[2].Add(11)
			p.counts[3].Add(11)
			p.active.Store(int64(i))
			time.Sleep(time.Second)
			synctest.Wait()
		}
		h := history(t, c, "")
		if len(h.Points) != 3 || h.Started.IsZero() {
			t.Fatalf("after 3s: %+v, want 3 points", h)
		}
		for i, point := range h.Points {
			if want := began.Add(time.Duration(i+1) * time.Second); point.Number != uint64(i+1) || !point.At.Equal(want) || point.Seconds != 1 {
				t.Errorf("point %d: number %d at %v, %gs; want at %v, 1s", i, point.Number, point.At, point.Seconds, want)
			}
			if point.Outcomes[service.Greeted] != 10 || point.Outcomes[service.Refused] != 1 || len(point.Outcomes) != 6 {
				t.Errorf("point %d: %v, want 10 greeted, 1 refused and four kinds more", i, point.Outcomes)
			}
			if point.Active != i || point.Lingering != 7 {
				t.Errorf("point %d: %d active, %d lingering; want %d, 7", i, point.Active, point.Lingering, i)
			}
			if point.Median == nil || *point.Median < 0.001 || *point.Median > 0.010 || point.P99 == nil || *point.P99 < 0.010 || *point.P99 > 1 {
				t.Errorf("point %d: median %v, p99 %v; want within their buckets", i, point.Median, point.P99)
			}
		}

		time.Sleep(time.Second)
		synctest.Wait()
		h = history(t, c, "?after=3")
		if len(h.Points) != 1 || h.Points[0].Number != 4 || h.Points[0].Median != nil || h.Points[0].P99 != nil {
			t.Errorf("after a calm second: %+v, want one point without durations", h.Points)
		}
		if h = history(t, c, "?after=99"); len(h.Points) != 0 {
			t.Errorf("after the last point: %+v, want none", h.Points)
		}

		time.Sleep(20 * time.Minute)
		synctest.Wait()
		c2 := ln.dial()
		defer c2.Close()
		h = history(t, c2, "")
		if n := len(h.Points); n != 600 || h.Points[0].Number != 605 || h.Points[n-1].Number != 1204 {
			t.Errorf("after 20 minutes: %d points from %d to %d, want 600 from 605 to 1204", n, h.Points[0].Number, h.Points[n-1].Number)
		}
	})
}

func TestHistoryNeedsANumber(t *testing.T) {
	var p pace
	unix, _ := start(t, p.daemon())
	got := ask(t, unix, "GET", "/history?after=yesterday", "", "")
	if got.code != http.StatusBadRequest || got.body != "after=\"yesterday\" is not the number of a point: it counts from 1\n" {
		t.Errorf("%d %q", got.code, got.body)
	}
}

func TestVisitsBeyondTheLastBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pace
		ln := newPipes(&net.TCPAddr{})
		serve(t, p.daemon(), ln)
		synctest.Wait()
		p.counts[3].Add(5)
		time.Sleep(time.Second)
		synctest.Wait()
		c := ln.dial()
		defer c.Close()
		h := history(t, c, "")
		if len(h.Points) != 1 || h.Points[0].Median == nil || *h.Points[0].Median != 1 {
			t.Errorf("%+v, want a median of the last bound, 1s", h.Points)
		}
	})
}

func TestPanicEndsTheHistoryAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pace
		d := p.daemon()
		d.Durations = func() ([]time.Duration, []uint64) { panic("no such metric") }
		received := make(chan error, 10)
		d.Failed = func(err error) { received <- err }
		ln := newPipes(&net.TCPAddr{})
		serve(t, d, ln)
		time.Sleep(time.Minute)
		if err := (<-received).Error(); !strings.Contains(err, "no such metric") || !strings.Contains(err, "history_test.go") {
			t.Errorf("received %q, want the panic and its stack", err)
		}
		if len(received) != 0 {
			t.Errorf("received it %d times more", len(received))
		}
		c := ln.dial()
		defer c.Close()
		if h := history(t, c, ""); len(h.Points) != 0 {
			t.Errorf("%+v", h.Points)
		}
	})
}
