package probe_test

import (
	"context"
	"net"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"greetd.example/internal/test/testserver"
	"greetd.example/pkg/probe"
)

// startsAt returns a Probe of a server that refuses before its start.
func startsAt(n *network, start time.Duration) probe.Probe {
	began := time.Now()
	p := n.probe()
	p.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		if time.Since(began) < start {
			return nil, syscall.ECONNREFUSED
		}
		return n.dial(ctx, network, address)
	}
	return p
}

func TestWaitUntilItGreets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{hosts: map[string]host{"192.0.2.9": {behavior: testserver.Greet("hi\n")}}}
		defer n.open.Wait()
		p := startsAt(n, 10*time.Second)
		began, tries := time.Now(), 0
		r := p.Wait(t.Context(), parse(t, "192.0.2.9:25"), 30*time.Second, func(probe.Result) { tries++ })
		if r.Status != probe.OK {
			t.Errorf("%s %v", r.Status, r.Err)
		}
		if took := time.Since(began); took < 10*time.Second || took > 11*time.Second {
			t.Errorf("took %s, want a second at most after the start", took)
		}
		if tries < 10 || tries > 20 {
			t.Errorf("%d tries", tries)
		}
	})
}

func TestWaitGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		p := startsAt(n, time.Hour)
		began := time.Now()
		r := p.Wait(t.Context(), parse(t, "192.0.2.9:25"), 3*time.Second, nil)
		if r.Status != probe.Refused || time.Since(began) != 3*time.Second {
			t.Errorf("%s after %s", r.Status, time.Since(began))
		}
	})
}

func TestWaitReportsTheLastWholeTry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{hosts: map[string]host{"192.0.2.9": {}}} // silent from the start
		p := startsAt(n, time.Second)
		r := p.Wait(t.Context(), parse(t, "192.0.2.9:25"), 4*time.Second, nil)
		if r.Status != probe.Refused {
			t.Errorf("%s %v, want what the last whole try found", r.Status, r.Err)
		}
		r = p.Wait(t.Context(), parse(t, "192.0.2.9:25"), 4*time.Second, nil)
		if r.Status != probe.ConnectTimeout {
			t.Errorf("%s %v, want what the only try found", r.Status, r.Err)
		}
	})
}

func TestWaitIsCanceled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		n := &network{}
		p := startsAt(n, time.Hour)
		began := time.Now()
		r := p.Wait(ctx, parse(t, "192.0.2.9:25"), time.Hour, nil)
		if r.Status != probe.Canceled || time.Since(began) != time.Second {
			t.Errorf("%s after %s", r.Status, time.Since(began))
		}
	})
}
