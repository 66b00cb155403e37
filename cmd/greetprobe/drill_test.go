package main

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"greetd.example/internal/drill"
)

// The pause before the next step begins when a client that came after the last one is served.
func TestNextStepWaitsUntilClientsAreServed(t *testing.T) {
	for _, c := range []struct {
		name          string
		served, again time.Duration // when clients that were due then were served; 0: none was
		cancel, want  time.Duration
	}{
		{"again", time.Millisecond, 3 * time.Second, 0, 3 * time.Second},
		{"never again", time.Millisecond, 0, 0, recoveryLimit},
		{"never", 0, 0, 0, 0},
		{"interrupted", time.Millisecond, 3 * time.Second, time.Second, time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				d := &drilling{begin: time.Now()}
				serve := func(after time.Duration) {
					if after > 0 {
						at := d.begin.Add(after)
						time.AfterFunc(time.Until(at), func() { d.record.Add(drill.Client{Due: at, Ended: at, Outcome: drill.Served}) })
					}
				}
				serve(c.served)
				time.Sleep(time.Second)
				since := time.Now()
				if c.again > 0 {
					serve(time.Since(d.begin) + c.again)
				}
				if c.cancel > 0 {
					time.AfterFunc(c.cancel, cancel)
				}
				if got := d.servedAgain(ctx, since); got != (c.cancel == 0) {
					t.Errorf("servedAgain = %v", got)
				}
				if got := time.Since(since); got < c.want || got > c.want+10*time.Millisecond {
					t.Errorf("it waited %v, want %v", got, c.want)
				}
				time.Sleep(c.again) // the clients end
			})
		})
	}
}
