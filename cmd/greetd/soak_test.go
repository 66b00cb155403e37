package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// soakEnv is how long TestSoak abuses greetd; make soak sets it. A name of GREETD_ would be a
// key to greetd.
const soakEnv = "SOAKTIME"

// TestSoak attacks greetd in every way there is, for SOAKTIME, with 1,000 reloads a minute
// meanwhile. Now and then all clients pause until greetd is idle: then each client must be
// counted, and memory, descriptors and goroutines must not have grown.
func TestSoak(t *testing.T) {
	lasts := soakTime(t, 15*time.Second)
	s := startTarget(t, soakSettings[0], 20_000)
	base, err := os.ReadFile(s.file)
	if err != nil {
		t.Fatal(err)
	}
	soak := &soak{target: s, listeners: strings.TrimSuffix(string(base), soakSettings[0]), greetingFile: filepath.Join(t.TempDir(), "greeting")}
	if err := os.WriteFile(soak.greetingFile, []byte("Hello there, {{.IP}}!\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	samples := soak.run(t, lasts)
	flat(t, "bytes of live heap", samples, 4<<20, func(s sample) int { return s.heap })
	flat(t, "KiB of resident memory", samples, 16<<10, func(s sample) int { return s.rss })
	last := samples[len(samples)-1]
	t.Logf("%d clients and %d reloads in %v: %v", s.came.Load(), soak.reloads, last.at.Round(time.Second), s.status(t).Outcomes)
	if generation, refused := s.status(t).Configuration.Generation, soak.reloads/len(soakSettings); int(generation) != 1+soak.reloads-refused {
		t.Errorf("generation %d after %d reloads, of which %d were refused", generation, soak.reloads, refused)
	}
	s.recovers(t)
	s.stops(t)
}

// soakTime is how long a test is to take, which takes less unless somebody wants more.
func soakTime(t *testing.T, less time.Duration) time.Duration {
	t.Helper()
	text := os.Getenv(soakEnv)
	if text == "" {
		return less
	}
	return parseTestTime(t, soakEnv, text)
}

func parseTestTime(t *testing.T, variable, text string) time.Duration {
	t.Helper()
	lasts, err := time.ParseDuration(text)
	if err != nil || lasts < 10*time.Second {
		t.Fatalf("%s=%s: must be a duration of at least 10s (%v)", variable, text, err)
	}
	return lasts
}

// soakSettings are what the reloads go through; %s is a file with the greeting. The
// handshake's time is long, so that an honest client has enough of it on a machine that
// has nothing left.
var soakSettings = []string{
	"timeouts: {handshake: 30s, write: 30s, linger: 200ms}\naccess: {deny: [127.66.0.0/16]}\n",
	`timeouts: {handshake: 30s, write: 30s, linger: 100ms}
limits: {connections: 100, per_source: {connections: 1000, rate: 100000}}
access: {deny: [127.66.0.0/16, 192.0.2.0/24]}
greeting_file: %s
`,
	"limits: {connections: many}\n", // is refused
}

// spare is a listener that comes and goes.
const spare = `  - {name: spare, address: "127.0.0.1:0"}` + "\nadmin:"

type soak struct {
	*target
	listeners    string // the first part of the configuration
	greetingFile string

	sampling sync.RWMutex // held by everybody who does something; a sample locks it
	bout     context.Context
	pause    context.CancelFunc // ends bout
	reloads  int
}

// A sample is what greetd holds when nobody is there.
type sample struct {
	at   time.Duration
	heap int // bytes that the last garbage collection found alive
	rss  int // KiB
}

// run lets everybody go at it, and returns the samples that were taken meanwhile.
func (s *soak) run(t *testing.T, lasts time.Duration) []sample {
	t.Helper()
	began := time.Now()
	pace := time.NewTicker(time.Minute / 1000)
	defer pace.Stop()
	actors := s.everybody(s.honest, func() error { return s.holdOn(s.bout) }, s.look)
	actors = append(actors, actor{"a reload", 1, func() error {
		select {
		case <-pace.C:
			return s.reload(t)
		case <-s.bout.Done():
			return nil
		}
	}})
	defer s.start(t, actors)()

	var samples []sample
	for time.Since(began) < lasts && !t.Failed() {
		time.Sleep(max(lasts/60, time.Second)) // the others are at it
		samples = append(samples, s.sample(t, began))
	}
	return samples
}

// An actor is so many who do something again and again.
type actor struct {
	name string
	many int
	do   func() error
}

// everybody is the actors that are there in any case.
func (s *soak) everybody(honest, holdOn, look func() error) []actor {
	return []actor{
		{"an honest client", 32, honest},
		{"a client that is denied or resets", 32, s.bad},
		{"a client that holds on", 16, holdOn},
		{"who asks the admin socket", 1, look},
	}
}

// start starts actors, and returns what ends them. An error of theirs fails the test.
func (s *soak) start(t *testing.T, actors []actor) (end func()) {
	t.Helper()
	s.begin(t)
	over := make(chan struct{})
	var running sync.WaitGroup
	for _, a := range actors {
		for range a.many {
			running.Go(func() {
				for {
					select {
					case <-over:
						return
					default:
					}
					s.sampling.RLock()
					err := a.do()
					s.sampling.RUnlock()
					if err != nil {
						t.Errorf("%s: %v", a.name, err)
					}
				}
			})
		}
	}
	return func() {
		close(over)
		s.pause()
		running.Wait()
	}
}

func (s *soak) begin(t *testing.T) {
	t.Helper()
	s.bout, s.pause = context.WithCancel(t.Context())
}

// pauseAll makes everybody pause, and returns what lets them go on.
func (s *soak) pauseAll(t *testing.T) (goOn func()) {
	t.Helper()
	s.pause()
	s.sampling.Lock()
	return func() {
		s.begin(t)
		s.sampling.Unlock()
	}
}

func (s *soak) sample(t *testing.T, began time.Time) sample {
	t.Helper()
	defer s.pauseAll(t)()
	s.until(t, "every client is gone and counted", func() bool { return s.isIdle(t) })
	// The spare listener may be there.
	s.until(t, "descriptors are as before", func() bool { return s.process.descriptors(t) <= s.descriptors+2 })
	s.until(t, "goroutines are as before", func() bool { return s.countGoroutines(t) <= s.goroutines+4 })
	now := sample{at: time.Since(began), heap: s.metric(t, "go_gc_heap_live_bytes"), rss: s.rss(t)}
	t.Logf("%v: %d clients, %d reloads, %d KiB of live heap, %d KiB of its own resident, %d descriptors, %d goroutines", now.at.Round(time.Second),
		s.came.Load(), s.reloads, now.heap>>10, now.rss, s.process.descriptors(t), s.countGoroutines(t))
	return now
}

// flat fails the test if what greetd holds has grown, after a warm-up of a quarter of the
// time, by more than a little: from the median of a third to that of the last.
func flat(t *testing.T, what string, samples []sample, little int, of func(sample) int) {
	t.Helper()
	samples = samples[len(samples)/4:]
	median := func(some []sample) int {
		values := make([]int, len(some))
		for i, one := range some {
			values[i] = of(one)
		}
		slices.Sort(values)
		return values[len(values)/2]
	}
	third := max(len(samples)/3, 1)
	before, after := median(samples[:third]), median(samples[len(samples)-third:])
	t.Logf("%d %s at first, %d in the end", before, what, after)
	if after > before+little {
		t.Errorf("%s: %d at first, %d in the end: at most %d more are allowed", what, before, after, little)
	}
}

// stranger is an address that somebody comes from, of one that is denied or not.
func stranger(denied bool) netip.Addr {
	second := byte(1 + rand.N(8))
	if denied {
		second = 66
	}
	return netip.AddrFrom4([4]byte{127, second, byte(rand.N(16)), byte(1 + rand.N(16))})
}

// honest wants to be greeted.
func (s *soak) honest() error { return s.visit(stranger(false), anyListener()) }

// anyListener is the name of one. Handshakes cost much more than all the rest.
func anyListener() string {
	switch n := rand.N(100); {
	case n < 2:
		return "safe"
	case n < 4:
		return "both"
	case n < 30:
		return "behind"
	}
	return "bare"
}

// bad does one of the things that greetd must bear.
func (s *soak) bad() error {
	if rand.N(2) == 0 {
		r := resets[rand.N(len(resets))]
		c, err := s.connect(stranger(false), r.listener)
		if err == nil {
			r.do(c)
		}
		return err
	}
	c, err := s.connect(stranger(true), "bare")
	if err != nil {
		return err
	}
	defer c.Close()
	if text, _ := io.ReadAll(c); len(text) > 0 {
		return fmt.Errorf("who is denied hears %q", text)
	}
	return nil
}

// holdOn does not let go until greetd does, or ctx ends.
func (s *soak) holdOn(ctx context.Context) error {
	abuse := []struct{ listener, says string }{
		{"behind", header[:half]},
		{"safe", halfHello},
		{"both", header + halfHello},
		{"bare", ""},
		{"behind", header},
		{"behind", ""},
		{"bare", halfHello},
	}[rand.N(7)]
	c, err := s.connect(stranger(false), abuse.listener)
	if err != nil {
		return err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	if _, err := io.WriteString(c, abuse.says); err != nil {
		return nil // let go already
	}
	if rand.N(2) == 0 { // talks without end
		for noise := make([]byte, 16<<10); err == nil; {
			_, err = c.Write(noise)
		}
		return nil
	}
	for err == nil { // reads a byte at a time
		_, err = c.Read(make([]byte, 1))
	}
	return nil
}

// look asks the admin side, well or badly. On a machine that has nothing left, it may be
// that a question takes too long and is not answered.
func (s *soak) look() error {
	path := []string{"/metrics", "/status", "/history", "/", "/healthz", "/nothing", "hang up"}[rand.N(7)]
	if path != "hang up" {
		_, _ = s.fetch(path)
		return nil
	}
	c, err := net.Dial("unix", s.control)
	if err != nil {
		return err
	}
	_, _ = io.WriteString(c, "GET /metr")
	return c.Close()
}

// reload applies the next settings.
func (s *soak) reload(t *testing.T) error {
	t.Helper()
	i := s.reloads % len(soakSettings)
	settings, listeners := soakSettings[i], s.listeners
	if strings.Contains(settings, "%s") {
		settings = fmt.Sprintf(settings, s.greetingFile)
	}
	if i == 1 {
		listeners = strings.Replace(listeners, "admin:", spare, 1)
	}
	if err := os.WriteFile(s.file, []byte(listeners+settings), 0o600); err != nil {
		return err
	}
	result, err := s.daemon.Reload(t.Context())
	s.reloads++
	if err == nil && result.OK != (i != 2) {
		err = fmt.Errorf("%+v", result)
	}
	return err
}

// TestSoakManyClients has 20 times limits.connections clients. Each stays until greetd closes
// its connection, and then connects again: for SOAKTIME, and at most ten minutes. They keep
// out no client that connects once.
func TestSoakManyClients(t *testing.T) {
	const limit, times = 100, 20
	p := start(t, fmt.Sprintf(`
listeners: [{name: greet, address: "127.0.0.1:0"}]
limits: {connections: %d}
timeouts: {linger: 10m}
log: {visits: none}
`, limit), 20_000)
	over := make(chan struct{})
	var clients sync.WaitGroup
	defer func() {
		close(over)
		clients.Wait()
	}()
	for range limit * times {
		clients.Go(func() {
			for p.holdOn(over) {
			}
		})
	}
	var visits int
	var slowest time.Duration
	end := time.Now().Add(min(soakTime(t, 5*time.Second), 10*time.Minute))
	for ; time.Now().Before(end); visits++ {
		began := time.Now()
		c, err := net.Dial("tcp", p.address)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(c)
		_ = c.Close()
		slowest = max(slowest, time.Since(began))
		if err != nil || string(text) != "Hello there, 127.0.0.1!\n" {
			t.Fatalf("an honest client hears %q, %v", text, err)
		}
	}
	t.Logf("%d honest clients, one after the other; the slowest took %v", visits, slowest)
	if n := p.descriptors(t); n > limit+50 {
		t.Errorf("%d descriptors are open, though limits.connections is %d", n, limit)
	}
}

// holdOn is a visit that does not end before greetd closes it, and reports whether there
// is to be another. A client notices the close only by saying something.
func (p *process) holdOn(over chan struct{}) bool {
	c, err := net.Dial("tcp", p.address)
	if err != nil {
		return false
	}
	defer c.Close()
	_, _ = io.Copy(io.Discard, c)
	try := time.NewTicker(100 * time.Millisecond)
	defer try.Stop()
	for err == nil {
		select {
		case <-over:
			return false
		case <-try.C:
			_, err = c.Write([]byte("."))
		}
	}
	return true
}
