package main

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"greetd.example/internal/test/debian"
	"greetd.example/pkg/service"
)

// A clocked target is one whose wall clock the test moves.
type clocked struct {
	*target
	by    io.Writer
	moved *bufio.Reader
}

// startTargetByClock starts it.
func startTargetByClock(t *testing.T, settings string) *clocked {
	t.Helper()
	c := &clocked{}
	c.target = startTargetWith(t, func(listeners string) *process {
		p := prepare(t, listeners+settings, 1000)
		p.Args[2] = "read go && " + p.Args[2]
		gate, err := p.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		c.by, c.moved = moveClockOf(t, p)
		if _, err := io.WriteString(gate, "go\n"); err != nil {
			t.Fatal(err)
		}
		p.isReady(t)
		return p
	})
	return c
}

// moveClockOf starts wallclock for a shell that waits.
func moveClockOf(t *testing.T, p *process) (by io.Writer, moved *bufio.Reader) {
	t.Helper()
	mover := exec.Command("wallclock", strconv.Itoa(p.Process.Pid))
	mover.Stderr = os.Stderr
	in, err := mover.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := mover.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := mover.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = mover.Process.Kill() // which ends p too
		_ = mover.Wait()
	})
	moved = bufio.NewReader(out)
	if line, err := moved.ReadString('\n'); line != "ready\n" {
		debian.Lacking(t, "to trace another process, to move its clock: wallclock says %q, %v", line, err)
	}
	return in, moved
}

const (
	day  = 24 * time.Hour
	year = 365 * day
)

// set sets greetd's clock to so much ahead of the machine's.
func (c *clocked) set(t *testing.T, ahead time.Duration) {
	t.Helper()
	if _, err := fmt.Fprintln(c.by, ahead); err != nil {
		t.Fatal(err)
	}
	if _, err := c.moved.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
}

// jump is set, and sees that greetd has the new time: by a reload, which must be possible,
// and know whether the certificates are valid.
func (c *clocked) jump(t *testing.T, ahead time.Duration) {
	t.Helper()
	c.set(t, ahead)
	said := len(c.log.String())
	if result, err := c.daemon.Reload(t.Context()); err != nil || !result.OK {
		t.Fatalf("reload: %+v, %v", result, err)
	}
	status := c.status(t)
	if off := time.Until(status.Configuration.LastReload.At) - ahead; off.Abs() > time.Hour {
		t.Fatalf("the clock is to be %v ahead, and greetd has it %v later", ahead, off)
	}
	if uptime := time.Duration(status.UptimeSeconds * float64(time.Second)); uptime < 0 || uptime > time.Hour {
		t.Errorf("%v ahead, it has been up for %v", ahead, uptime)
	}
	expired, early := "expired at", "is not valid before"
	c.until(t, "the certificates are judged by the new clock", func() bool {
		news := c.log.String()[said:]
		return strings.Contains(news, expired) == (ahead > 0) && strings.Contains(news, early) == (ahead < 0)
	})
}

// refuses tells whether a client from an address is not greeted.
func (c *clocked) refuses(t *testing.T, from netip.Addr) bool {
	t.Helper()
	socket, err := c.connect(from, "bare")
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	text, err := io.ReadAll(socket)
	if err != nil {
		t.Fatal(err)
	}
	return len(text) == 0
}

// hasty is a source that comes until it is refused.
var hasty = netip.AddrFrom4([4]byte{127, 5, 5, 5})

// All that waits and limits goes by a clock that does not jump: nobody's time is over
// because the wall clock was set, and nobody gets more of it.
func TestClockJumpsEndNothing(t *testing.T) {
	c := startTargetByClock(t, `
timeouts: {handshake: 10m, linger: 10m, drain: 100ms}
limits: {per_source: {rate: 0.001, burst: 100}}
`)
	for !c.refuses(t, hasty) {
	}
	_, _ = io.ReadAll(c.dial(t, "bare")) // lingers
	_, _ = io.WriteString(c.dial(t, "both"), header+halfHello)
	_, _ = io.WriteString(c.dial(t, "behind"), header[:half])
	tickets := tls.NewLRUClientSessionCache(1)
	for _, ahead := range []time.Duration{0, day, -day, year, 0, -year, 50 * year, -50 * year} {
		c.jump(t, ahead)
		c.greets(t)
		if text, err := io.ReadAll(tls.Client(c.dial(t, "safe"), &tls.Config{InsecureSkipVerify: true, ClientSessionCache: tickets})); err != nil {
			t.Errorf("%v ahead, who comes back with a ticket hears %q, %v", ahead, text, err)
		}
		if !c.refuses(t, hasty) {
			t.Errorf("%v ahead, who came too often is greeted", ahead)
		}
		if status := c.status(t); status.Connections.Active < 2 || status.Connections.Lingering < 1 || status.Outcomes[service.TimedOut] > 0 {
			t.Errorf("%v ahead: %+v, %v", ahead, status.Connections, status.Outcomes)
		}
	}
	c.stops(t)
}

func TestClockJumpsDelayNothing(t *testing.T) {
	c := startTargetByClock(t, `
timeouts: {handshake: 2s, linger: 1s}
limits: {per_source: {rate: 2, burst: 20}}
`)
	for _, ahead := range []time.Duration{year, 0, -year} {
		c.jump(t, ahead)
		for !c.refuses(t, hasty) {
		}
		_, _ = io.ReadAll(c.dial(t, "bare"))
		_, _ = io.WriteString(c.dial(t, "both"), header+halfHello)
		_, _ = io.WriteString(c.dial(t, "behind"), header[:half])
		timedOut := c.status(t).Outcomes[service.TimedOut]
		c.set(t, ahead-year)
		c.until(t, "everybody's time is over", func() bool {
			return c.isIdle(t) && c.status(t).Outcomes[service.TimedOut] == timedOut+2
		})
		c.until(t, "who came too often is greeted again", func() bool { return !c.refuses(t, hasty) })
	}
	c.recovers(t)
	_, _ = io.ReadAll(c.dial(t, "bare"))
	c.set(t, -50*year)
	c.stops(t)
}
