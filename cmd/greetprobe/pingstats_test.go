package main

import (
	"bufio"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestStatisticsAreThoseOfPing holds our numbers against recorded runs of the real
// ping (iputils 20221126), whose single times are exact below 1 ms.
func TestStatisticsAreThoseOfPing(t *testing.T) {
	files, err := filepath.Glob("testdata/ping/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no recorded runs: %v", err)
	}
	single := regexp.MustCompile(`icmp_seq=(\d+) .* time=0\.(\d{3}) ms`)
	summary := regexp.MustCompile(`(\d+) packets transmitted, (\d+) received, ([\d.]+)% packet loss`)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			f, err := os.Open(file)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			took := map[int]time.Duration{}
			var wantCounts, wantTimes string
			for lines := bufio.NewScanner(f); lines.Scan(); {
				if m := single.FindStringSubmatch(lines.Text()); m != nil {
					seq, _ := strconv.Atoi(m[1])
					us, _ := strconv.Atoi(m[2])
					took[seq] = time.Duration(us) * time.Microsecond
				}
				if m := summary.FindStringSubmatch(lines.Text()); m != nil {
					wantCounts = m[1] + " probes sent, " + m[2] + " received, " + m[3] + "% loss"
				}
				if rest, found := strings.CutPrefix(lines.Text(), "rtt "); found {
					wantTimes = rest
				}
			}
			sent, _ := strconv.Atoi(strings.Fields(wantCounts)[0])

			s := newPingStats()
			for seq := 1; seq <= sent; seq++ {
				rtt, received := took[seq]
				s.add(seq-1, time.Unix(int64(seq), 0), received, rtt)
			}
			var out strings.Builder
			s.print(&out, "127.0.0.1:25", 0, time.Unix(int64(sent+1), 0))
			for _, want := range []string{wantCounts, wantTimes} {
				if !strings.Contains(out.String(), want) {
					t.Errorf("ping said %q, we say:\n%s", want, &out)
				}
			}
		})
	}
}

// The expected values come from the formula of ping_common.c in double precision.
func TestAverageAndDeviationCutFractionsAsPingDoes(t *testing.T) {
	for _, tt := range []struct {
		us        []int
		avg, mdev int
	}{
		{[]int{1, 2}, 1, 0},
		{[]int{100, 101}, 100, 0},
		{[]int{1000, 2000, 3001}, 2000, 816},
		{[]int{15_000_001, 15_000_001, 15_000_001}, 15_000_001, 0},
		{[]int{900_000_000, 1_000_000_003, 1_300_000_001}, 1_066_666_668, 169_967_317}, // the sum is over 2^31
	} {
		s := newPingStats()
		for i, us := range tt.us {
			s.add(i, time.Unix(int64(i), 0), true, time.Duration(us)*time.Microsecond)
		}
		if avg, mdev := int(s.avg().Microseconds()), int(s.mdev().Microseconds()); avg != tt.avg || mdev != tt.mdev {
			t.Errorf("%v: avg, mdev = %d, %d us, want %d, %d", tt.us, avg, mdev, tt.avg, tt.mdev)
		}
	}
}

func TestPercentilesAreWithinWhatWasSeen(t *testing.T) {
	s := newPingStats()
	for i := range 1000 {
		s.add(i, time.Unix(int64(i), 0), true, time.Duration(i+1)*time.Millisecond)
	}
	for p, want := range map[float64]int{50: 500, 90: 900, 99: 990, 100: 1000} {
		got := s.percentile(p)
		if off := got - time.Duration(want)*time.Millisecond; off < 0 || off > got/1000 || got > s.max {
			t.Errorf("p%v = %v, want %d ms and at most a thousandth more", p, got, want)
		}
	}
}

func TestSummaryWithoutOneAnswer(t *testing.T) {
	s := newPingStats()
	start := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	for i := range 3 {
		s.add(i, start.Add(time.Duration(i)*time.Second), false, 0)
	}
	var out strings.Builder
	s.print(&out, "mail:25", 2*time.Second, start.Add(2500*time.Millisecond))
	want := `
--- mail:25 greeting statistics ---
3 probes sent, 0 received, 100% loss, time 2000 ms
longest outage 2.500 s: 3 probes, from seq 1 at 12:00:00, still going on
`
	if out.String() != want {
		t.Errorf("summary:%s\nwant:%s", &out, want)
	}
}

func TestLongestOutage(t *testing.T) {
	start := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		name  string
		ok    string // one letter a second: o good, x failed
		order []int  // in which they end; nil: as they were due
		want  string // of "first probes seconds", empty: none
	}{
		{"none", "ooo", nil, ""},
		{"one", "oxo", nil, "1 1 1s"},
		{"the longer", "xoxxxoxxo", nil, "2 3 3s"},
		{"the present", "xxoxxx", nil, "3 3 3s"},
		{"the earlier of two alike", "xoxo", nil, "0 1 1s"},
		{"ended out of order", "oxxo", []int{3, 1, 2, 0}, "1 2 2s"},
		{"unbroken by one that ended early", "oxxxo", []int{0, 4, 2, 3, 1}, "1 3 3s"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var o outages
			for i := range tt.ok {
				seq := i
				if tt.order != nil {
					seq = tt.order[i]
				}
				o.add(seq, start.Add(time.Duration(seq)*time.Second), tt.ok[seq] == 'o')
			}
			got := ""
			if worst := o.longestUntil(start.Add(time.Duration(len(tt.ok)) * time.Second)); worst.probes > 0 {
				got = strings.Join([]string{strconv.Itoa(worst.first), strconv.Itoa(worst.probes), worst.length().String()}, " ")
			}
			if got != tt.want {
				t.Errorf("longest outage = %q, want %q", got, tt.want)
			}
			if len(o.waiting) != 0 {
				t.Errorf("%d probes still wait to be looked at", len(o.waiting))
			}
		})
	}
}
