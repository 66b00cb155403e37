package probe_test

import (
	"context"
	"fmt"
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
