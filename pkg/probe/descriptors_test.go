package probe_test

import (
	"os"
	"runtime/debug"
	"slices"
	"testing"
	"time"

	"greetd.example/internal/test/debian"
	"greetd.example/internal/test/testserver"
	"greetd.example/pkg/probe"
)

// A dial that fails closes its socket at once, not when the garbage is collected, and
// closes nothing else.
func TestFailedConnectsLeaveDescriptorsAlone(t *testing.T) {
	open := func() (names []string) {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			debian.Lacking(t, "a list of its descriptors: %v", err)
		}
		for _, e := range entries {
			to, _ := os.Readlink("/proc/self/fd/" + e.Name())
			names = append(names, e.Name()+" is "+to)
		}
		return names
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	closed := closedPort(t)
	new(probe.Probe).Do(t.Context(), parse(t, closed)) // opens what stays open, as for epoll(7)
	silent := testserver.Blackhole(t, "tcp4", "127.0.0.1:0", nil, 0)
	for what, test := range map[string]struct {
		probe  probe.Probe
		target string
		status probe.Status
	}{
		"bind":    {probe.Probe{Source: addr("203.0.113.77")}, "127.0.0.1:1", probe.LocalError},
		"connect": {probe.Probe{}, "255.255.255.255:1", probe.Unreachable}, // which TCP refuses at once
		"refused": {probe.Probe{}, closed, probe.Refused},
		"silent":  {probe.Probe{Connect: time.Millisecond}, silent, probe.ConnectTimeout},
		"no path": {probe.Probe{}, "unix:/nowhere/s", probe.Unreachable},
	} {
		target := parse(t, test.target)
		before := open()
		for range 20 {
			if r := test.probe.Do(t.Context(), target); r.Status != test.status {
				t.Fatalf("%s: %s %v, want %s", what, r.Status, r.Err, test.status)
			}
		}
		if what == "bind" {
			if r, want := test.probe.Do(t.Context(), target), "the source address 203.0.113.77 is not an address of this machine"; r.Err == nil || r.Err.Error() != want {
				t.Errorf("bind: %v, want %s", r.Err, want)
			}
		}
		if after := open(); !slices.Equal(before, after) {
			t.Errorf("%s: descriptors before %v, after %v", what, before, after)
		}
	}
}
