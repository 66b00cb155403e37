package probe_test

import (
	"os"
	"slices"
	"testing"

	"greetd.example/internal/test/debian"
	"greetd.example/pkg/probe"
)

// A socket that can't even begin to connect is closed, and nothing else is.
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
	new(probe.Probe).Do(t.Context(), parse(t, closedPort(t))) // opens what stays open, as for epoll(7)
	for what, p := range map[string]probe.Probe{
		"bind":    {Source: addr("203.0.113.77")},
		"connect": {},
	} {
		target := parse(t, "127.0.0.1:1")
		if what == "connect" {
			target = parse(t, "255.255.255.255:1") // which TCP refuses at once
		}
		before := open()
		for range 20 {
			if r := p.Do(t.Context(), target); r.Status == probe.OK || r.Status == probe.Refused {
				t.Fatalf("%s: %s: not what is to be tested", what, r.Status)
			}
		}
		if after := open(); !slices.Equal(before, after) {
			t.Errorf("%s: descriptors before %v, after %v", what, before, after)
		}
	}
}
