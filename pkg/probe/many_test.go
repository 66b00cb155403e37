package probe_test

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"greetd.example/pkg/probe"
)

// targets returns n targets.
func targets(tb testing.TB, n int) []probe.Target {
	tb.Helper()
	var all []probe.Target
	for i := range n {
		all = append(all, parse(tb, fmt.Sprintf("127.0.0.1:%d", i+1)))
	}
	return all
}

// A desk has so many descriptors, and each probe takes one for a second.
type desk struct {
	mu                sync.Mutex
	free, busy, crowd int
}

func (d *desk) do(ctx context.Context, t probe.Target) []probe.Result {
	r := probe.Result{Target: t, Status: probe.OK}
	d.mu.Lock()
	if d.busy == d.free {
		d.mu.Unlock()
		r.Status, r.Err = probe.LocalError, os.NewSyscallError("socket", syscall.EMFILE)
		return []probe.Result{r}
	}
	d.busy++
	d.crowd = max(d.crowd, d.busy)
	d.mu.Unlock()
	if err := sleep(ctx, time.Second); err != nil {
		r.Status = probe.Canceled
	}
	d.mu.Lock()
	d.busy--
	d.mu.Unlock()
	return []probe.Result{r}
}

func TestManyKeepsToParallel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := desk{free: 1000}
		began, count := time.Now(), 0
		m := probe.Many{Do: d.do, Parallel: 7}
		m.Run(t.Context(), slices.Values(targets(t, 70)), func(probe.Result) { count++ })
		if count != 70 || d.crowd != 7 || time.Since(began) != 10*time.Second {
			t.Errorf("%d results, %d at once, %s", count, d.crowd, time.Since(began))
		}
	})
}

func TestManyDoesWithFewDescriptors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := desk{free: 5}
		var told []int
		failed := 0
		m := probe.Many{Do: d.do, Lowered: func(n int) { told = append(told, n) }}
		m.Run(t.Context(), slices.Values(targets(t, 50)), func(r probe.Result) {
			if r.Status != probe.OK {
				failed++
			}
		})
		if failed > 0 {
			t.Errorf("%d targets failed", failed)
		}
		if want := []int{5}; !slices.Equal(told, want) {
			t.Errorf("it was told that there is room for %v, want %v", told, want)
		}
	})
}

func TestManyWithoutAnyDescriptor(t *testing.T) {
	d := desk{}
	var all []probe.Status
	m := probe.Many{Do: d.do}
	m.Run(t.Context(), slices.Values(targets(t, 3)), func(r probe.Result) { all = append(all, r.Status) })
	if want := []probe.Status{probe.LocalError, probe.LocalError, probe.LocalError}; !slices.Equal(all, want) {
		t.Errorf("%v, want %v", all, want)
	}
}

func TestManyBeginsNothingMoreWhenCanceled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(1500*time.Millisecond, cancel)
		d := desk{free: 1000}
		counts := map[probe.Status]int{}
		m := probe.Many{Do: d.do, Parallel: 10}
		m.Run(ctx, slices.Values(targets(t, 70)), func(r probe.Result) { counts[r.Status]++ })
		if counts[probe.OK] != 10 || counts[probe.Canceled] != 10 {
			t.Errorf("%v, want 10 ok and 10 canceled", counts)
		}
	})
}

// Every address of every name counts, and the results of a name stay together.
func TestManyProbesAllAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		busy, most := 0, 0
		count := func(n int) {
			mu.Lock()
			defer mu.Unlock()
			busy += n
			most = max(most, busy)
		}
		p := probe.Probe{
			Resolve: func(_ context.Context, network, _ string) (addrs []netip.Addr, err error) {
				for i := range 20 {
					if network == "ip4" {
						addrs = append(addrs, netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}))
					}
				}
				return addrs, nil
			},
			Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
				count(1)
				defer count(-1)
				return nil, cmp.Or(sleep(ctx, time.Second), error(syscall.ECONNREFUSED))
			},
		}
		var got []string
		m := probe.Many{All: &p, Parallel: 7}
		m.Run(t.Context(), slices.Values([]probe.Target{parse(t, "a.example:25"), parse(t, "192.0.2.99:25"), parse(t, "b.example:25")}), func(r probe.Result) {
			if r.Status != probe.Refused {
				t.Errorf("%s: %s %v", r.Target, r.Status, r.Err)
			}
			got = append(got, r.Target.String())
		})
		if len(got) != 41 || most != 7 {
			t.Errorf("%d results, want 41; %d at once, want 7", len(got), most)
		}
		for _, name := range []string{"a.example", "b.example"} {
			first := slices.Index(got, name+"[192.0.2.0]:25")
			for i := range 20 {
				if want := fmt.Sprintf("%s[192.0.2.%d]:25", name, i); first < 0 || got[first+i] != want {
					t.Fatalf("%s is missing where it belongs in %q", want, got)
				}
			}
		}
	})
}

// An interrupt between two addresses of a name loses no result that is there.
func TestManyReportsWhatIsThereWhenCanceled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(1500*time.Millisecond, cancel)
		n := &network{
			lookups: map[string]lookup{"ip4": {addrs: []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"}}},
			hosts:   map[string]host{"192.0.2.1": {after: time.Second, err: syscall.ECONNREFUSED}},
		}
		p := n.probe()
		var got []string
		m := probe.Many{All: &p, Parallel: 1}
		m.Run(ctx, slices.Values([]probe.Target{parse(t, "mail.example:25")}), func(r probe.Result) {
			got = append(got, r.Target.Addr.String()+" "+string(r.Status))
		})
		if want := []string{"192.0.2.1 refused", "192.0.2.2 canceled"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// An interrupt before the beginning is a result too.
func TestDoAllWhenCanceledBefore(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p := (&network{}).probe()
	if rs := p.DoAll(ctx, parse(t, "mail.example:25")); len(rs) != 1 || rs[0].Status != probe.Canceled {
		t.Errorf("%+v", rs)
	}
}
