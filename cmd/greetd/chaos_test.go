package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"greetd.example/internal/admin"
	"greetd.example/internal/test/debian"
	"greetd.example/internal/test/journald"
	"greetd.example/pkg/service"
	"greetd.example/pkg/systemd/systemdtest"
)

// What make chaos sets: how long TestChaos takes, and the seed of its schedule.
const (
	chaosTimeEnv = "CHAOSTIME"
	chaosSeedEnv = "CHAOSSEED"
)

// TestChaos has a schedule, made from a seed, of what happens to greetd while clients come:
// it is stopped and continued, killed, restarted, reloaded with good and bad files, left
// without descriptors, and its journal freezes. Each honest client must get exactly the
// greeting of a configuration that was in force during its visit; only a kill excuses a
// greeting that is cut off. Whenever everybody pauses, status, metrics and journal must have
// the same visits, and as many as there were clients.
func TestChaos(t *testing.T) {
	lasts := 30 * time.Second
	if text := os.Getenv(chaosTimeEnv); text != "" {
		lasts = parseTestTime(t, chaosTimeEnv, text)
	}
	seed := rand.Uint64()
	if text := os.Getenv(chaosSeedEnv); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("%s=%s: %v", chaosSeedEnv, text, err)
		}
	}
	t.Logf("make chaos CHAOSTIME=%v CHAOSSEED=%d", lasts, seed)
	c := beginChaos(t)
	defer func() {
		if t.Failed() {
			t.Logf("seed %d; what happened: %s", seed, strings.Join(c.happened, ", "))
		}
	}()
	c.run(t, rand.New(rand.NewPCG(seed, 0)), lasts)
	c.restart(t)
	t.Logf("%d honest clients were greeted, %d kills cut one off; steps: %v", c.greeted.Load(), c.excused.Load(), c.steps)
	if c.greeted.Load() == 0 {
		t.Error("no honest client was greeted")
	}
}

// chaos is a soak of a greetd that a service manager starts again.
type chaos struct {
	*soak
	manager  *systemdtest.Manager
	journal  *chaosJournal
	happened []string // the steps, in their order
	steps    map[string]int
	short    bool // of descriptors

	written atomic.Int64 // number of the greeting in the file
	applied atomic.Int64 // number of one that was in force
	killing atomic.Int64 // kills that have begun
	killed  atomic.Int64 // kills that are over
	greeted atomic.Int64 // honest clients
	excused atomic.Int64 // honest clients that a kill cut off
}

// chaosSettings has the number of the greeting, then what may change. The handshake's time
// is long so that an honest client has enough of it on a busy machine, and the drain's so
// that no honest client is cut.
const chaosSettings = `
timeouts: {handshake: 30s, write: 30s, drain: 25s, linger: %[2]dms}
limits: {connections: %[3]d, per_source: {connections: 1000, rate: 100000}}
access: {deny: [127.66.0.0/16]}
log: {output: journald, rate: %[4]d, burst: 100}
greeting_file: %[1]s
`

func beginChaos(t *testing.T) *chaos {
	t.Helper()
	greetd, err := built()
	if err != nil {
		t.Fatal(err)
	}
	c := &chaos{steps: make(map[string]int), journal: startChaosJournal(t)}
	directory := t.TempDir()
	file := filepath.Join(directory, "greetd.yaml")
	var listeners string
	target := startTargetWith(t, func(text string) *process {
		listeners = text
		c.soak = &soak{target: &target{process: &process{file: file}}, listeners: text, greetingFile: filepath.Join(directory, "greeting")}
		if err := c.write(0); err != nil {
			t.Fatal(err)
		}
		c.manager = systemdtest.New(t, systemdtest.Unit{
			Command:  append(withJournal(t, filepath.Dir(c.journal.Path)), greetd, "--config", file),
			Watchdog: time.Minute,
		})
		if err := c.manager.Start(); err != nil {
			t.Fatal(err)
		}
		return &process{Cmd: &exec.Cmd{Process: c.runningProcess(t)}, file: file, log: &syncBuffer{}}
	})
	c.target, c.listeners = target, listeners
	return c
}

// withJournal is a command that runs another one, to which directory is that of journald.
func withJournal(t *testing.T, directory string) []string {
	t.Helper()
	command := []string{"unshare", "--mount", "sh", "-c", `mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/journal && mount --bind "$0" /run/systemd/journal && exec "$@"`, directory}
	if os.Getuid() != 0 {
		command = append([]string{command[0], "--user", "--map-root-user"}, command[1:]...)
	}
	if out, err := exec.Command(command[0], append(command[1:], "true")...).CombinedOutput(); err != nil {
		debian.Lacking(t, "a mount namespace, for a journal of its own: %v: %s", err, out)
	}
	return command
}

func (c *chaos) runningProcess(t *testing.T) *os.Process {
	t.Helper()
	running, err := os.FindProcess(c.manager.PID())
	if err != nil {
		t.Fatal(err)
	}
	return running
}

// run lets everybody go at it, and goes through the steps of the schedule, all of them
// in each round.
func (c *chaos) run(t *testing.T, random *rand.Rand, lasts time.Duration) {
	t.Helper()
	defer c.start(t, c.everybody(c.honest, c.holdOnShortly, c.look))()
	steps := c.schedule()
	for began := time.Now(); time.Since(began) < lasts && !t.Failed(); {
		for _, i := range random.Perm(len(steps)) {
			c.steps[steps[i].name]++
			c.happened = append(c.happened, fmt.Sprintf("%v %s", time.Since(began).Round(time.Millisecond), steps[i].name))
			steps[i].do(t, random)
			wait(random, 200*time.Millisecond)
			if time.Since(began) > lasts || t.Failed() {
				break
			}
		}
		c.check(t)
	}
}

// wait lets the others go on for up to most.
func wait(random *rand.Rand, most time.Duration) {
	time.Sleep(time.Duration(random.Int64N(int64(most)))) // greetd and its clients are at it
}

// A step is what happens to greetd.
type step struct {
	name string
	do   func(t *testing.T, random *rand.Rand)
}

func (c *chaos) schedule() []step {
	var steps []step
	for range 3 { // often
		steps = append(steps, step{"reload", c.reloadGood}, step{"stop and continue", c.stopAndContinue})
	}
	return append(steps,
		step{"reload of a bad file", c.reloadBad},
		step{"three SIGHUP", c.hangUp},
		step{"journal frozen", func(*testing.T, *rand.Rand) { c.journal.freeze() }},
		step{"journal thawed", func(*testing.T, *rand.Rand) { c.journal.thaw() }},
		step{"out of descriptors", func(t *testing.T, random *rand.Rand) { //nolint:thelper // a step
			c.limitDescriptors(t, 8+random.Uint64N(8))
			c.short = true
			wait(random, time.Second)
		}},
		step{"descriptors are back", func(t *testing.T, _ *rand.Rand) { c.enoughDescriptors(t) }}, //nolint:thelper // a step
		step{"SIGKILL", func(t *testing.T, _ *rand.Rand) { c.kill(t) }},                           //nolint:thelper // a step
		step{"restart", func(t *testing.T, _ *rand.Rand) { c.restart(t) }},                        //nolint:thelper // a step
	)
}

func (c *chaos) signal(t *testing.T, signals ...syscall.Signal) {
	t.Helper()
	for _, s := range signals {
		if err := c.manager.Signal(s); err != nil {
			t.Error(err)
		}
	}
}

func (c *chaos) stopAndContinue(t *testing.T, random *rand.Rand) {
	t.Helper()
	c.signal(t, syscall.SIGSTOP)
	wait(random, time.Second)
	c.signal(t, syscall.SIGCONT)
}

func (c *chaos) hangUp(t *testing.T, _ *rand.Rand) {
	t.Helper()
	c.signal(t, syscall.SIGHUP, syscall.SIGHUP, syscall.SIGHUP)
}

// write writes the configuration with greeting number n. One in three greetings is nearly 64 KiB,
// more than a slow reader lets go at once.
func (c *chaos) write(n int64) error {
	settings := fmt.Sprintf(chaosSettings, c.greetingFile, 100+100*(n%2), []int{1000, 50, 0}[n%3], []int{300, 50}[n%2])
	if err := os.WriteFile(c.greetingFile, []byte(chaosGreeting("{{.IP}}", n)), 0o600); err != nil {
		return err
	}
	return os.WriteFile(c.file, []byte(c.listeners+settings), 0o600)
}

func chaosGreeting(ip string, n int64) string {
	greeting := fmt.Sprintf("Hello there, %s!\n", ip)
	if n == 0 {
		return greeting
	}
	if n%3 == 2 {
		greeting += strings.Repeat("All work and no play makes Jack a dull boy.\n", 1300)
	}
	return greeting + fmt.Sprintf("This was greeting %d.\n", n)
}

// reload makes greetd reload, and returns whether it did. That it did not is an error
// unless it has too few descriptors, since nobody may hear the request then.
func (c *chaos) reload(t *testing.T, good bool) (ok bool) {
	t.Helper()
	timeout := time.Minute
	if c.short {
		timeout = time.Second
	}
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	result, err := c.daemon.Reload(ctx)
	if !c.short && (err != nil || result.OK != good) {
		t.Errorf("reload: %+v, %v", result, err)
	}
	return err == nil && result.OK
}

func (c *chaos) reloadGood(t *testing.T, _ *rand.Rand) {
	t.Helper()
	n := c.written.Add(1)
	if err := c.write(n); err != nil {
		t.Error(err)
	}
	if c.reload(t, true) {
		c.applied.Store(n)
	}
}

func (c *chaos) reloadBad(t *testing.T, random *rand.Rand) {
	t.Helper()
	good, err := os.ReadFile(c.file)
	if err != nil {
		t.Fatal(err)
	}
	bad := []string{"limits: {connections: many}\n", "greeting: '{{'\n", "\x00", "listeners: [{name: bare, address: nowhere}]\n"}
	if err := os.WriteFile(c.file, []byte(bad[random.IntN(len(bad))]), 0o600); err != nil {
		t.Error(err)
	}
	c.reload(t, false)
	if err := os.WriteFile(c.file, good, 0o600); err != nil {
		t.Error(err)
	}
}

// limitDescriptors lets greetd open at most n more.
func (c *chaos) limitDescriptors(t *testing.T, n uint64) {
	t.Helper()
	limit := unix.Rlimit{Cur: n, Max: 20_000}
	if err := unix.Prlimit(c.manager.PID(), unix.RLIMIT_NOFILE, &limit, nil); err != nil {
		t.Error(err)
	}
}

func (c *chaos) enoughDescriptors(t *testing.T) {
	t.Helper()
	c.limitDescriptors(t, 20_000)
	c.short = false
}

// kill ends greetd without a warning, and starts it again. What it knew is lost: how many
// clients are the new one's is not known before everybody pauses.
func (c *chaos) kill(t *testing.T) {
	t.Helper()
	c.journal.thaw()
	c.killing.Add(1)
	_ = c.manager.Kill(syscall.SIGKILL)
	c.startAgain(t)
	c.killed.Add(1)

	defer c.pauseAll(t)()
	for name := range c.address { // whoever is greeted knows that nobody is left in the backlog
		if _, _, err := c.read(home, name, io.ReadAll); err != nil {
			t.Errorf("after a kill: %v", err)
		}
	}
	c.until(t, "every client is gone", func() bool { return c.status(t).Connections == admin.Connections{} })
	c.came.Store(total(c.status(t).Outcomes))
}

// restart stops greetd and starts it again. No client may notice, and the last entry must
// have the visits that the others have. The clients in the backlog are the new one's.
func (c *chaos) restart(t *testing.T) {
	t.Helper()
	c.journal.thaw()
	if err := c.manager.Stop(); err != nil {
		t.Fatal(err)
	}
	c.journal.drain(t)
	last := c.journal.totals()
	if last == nil {
		t.Error("the journal has no last entry")
	} else if had := c.journal.visits(); !maps.Equal(last, had) {
		t.Errorf("the last entry has %v, all entries together %v", last, had)
	}
	c.came.Add(-total(last))
	c.startAgain(t)
}

func total(visits map[service.Outcome]uint64) (n uint64) {
	for _, count := range visits {
		n += count
	}
	return n
}

func (c *chaos) startAgain(t *testing.T) {
	t.Helper()
	c.journal.drain(t)
	c.journal.forget()
	if err := c.manager.Start(); err != nil {
		t.Fatal(err)
	}
	c.short = false
	c.applied.Store(c.written.Load())
	c.Process = c.runningProcess(t)
}

// check compares what status, metrics and journal have of the visits, while everybody
// pauses.
func (c *chaos) check(t *testing.T) {
	t.Helper()
	c.journal.thaw()
	c.enoughDescriptors(t)
	defer c.pauseAll(t)()
	c.until(t, "every client is gone and counted", func() bool { return c.isIdle(t) })
	c.until(t, "descriptors are as before", func() bool { return c.process.descriptors(t) <= c.descriptors+2 })
	c.until(t, "goroutines are as before", func() bool { return c.countGoroutines(t) <= c.goroutines+4 })
	status := c.status(t)
	differences := []string{"not compared"}
	defer func() {
		for _, difference := range differences {
			t.Error(difference)
		}
	}()
	c.until(t, "status, metrics and journal have the same visits", func() bool {
		page, err := c.fetch("/metrics")
		if err != nil {
			t.Fatal(err)
		}
		differences = c.compare(t, status, page)
		return len(differences) == 0
	})
}

var (
	visitSample    = regexp.MustCompile(`(?m)^greetd_visits_total\{.*outcome="(\w+)".*\} (\d+)$`)
	durationSample = regexp.MustCompile(`(?m)^(greetd_visit_duration_seconds_count)(?:\{.*\})? (\d+)$`)
)

// sumSamples adds the samples of a page by the first part that sample finds in them.
func sumSamples(page string, sample *regexp.Regexp) map[string]uint64 {
	sums := make(map[string]uint64)
	for _, match := range sample.FindAllStringSubmatch(page, -1) {
		n, _ := strconv.ParseUint(match[2], 10, 64)
		sums[match[1]] += n
	}
	return sums
}

// compare returns what differs.
func (c *chaos) compare(t *testing.T, status admin.Status, page string) (differences []string) {
	t.Helper()
	same := func(what string, a, b any) {
		if fmt.Sprint(a) != fmt.Sprint(b) {
			differences = append(differences, fmt.Sprintf("%s: %v and %v", what, a, b))
		}
	}
	visits, measured := make(map[service.Outcome]uint64), make(map[service.Outcome]uint64)
	samples := sumSamples(page, visitSample)
	for _, outcome := range service.Outcomes() {
		visits[outcome], measured[outcome] = status.Outcomes[outcome], samples[string(outcome)]
	}
	same("visits of status and metrics", visits, measured)
	same("visits of status and journal", visits, c.journal.visits())
	same("visits of status, and measured durations", total(visits), sumSamples(page, durationSample)["greetd_visit_duration_seconds_count"])
	same("dropped entries of status and metrics", status.Log.Dropped, c.metric(t, "greetd_log_entries_dropped_total"))
	dropped, suppressed := c.journal.missing()
	same("dropped entries of status and journal", status.Log.Dropped, dropped)
	same("suppressed visits of status and journal", status.Log.Suppressed, suppressed)
	same("generation of status and metrics", status.Configuration.Generation, c.metric(t, "greetd_config_generation"))
	same("failed visits", status.Outcomes[service.Failed], 0)
	return differences
}

// honest wants to be greeted. One in four reads slowly.
func (c *chaos) honest() error {
	readAll := io.ReadAll
	if rand.N(4) == 0 {
		readAll = readSlowly
	}
	return c.hears(stranger(false), anyListener(), readAll)
}

func readSlowly(from io.Reader) (text []byte, err error) {
	piece := make([]byte, 2<<10+rand.N(8<<10)) // smaller ones would make a restart wait
	for err == nil {
		time.Sleep(rand.N(20 * time.Millisecond)) // what it is slow by
		var n int
		n, err = from.Read(piece)
		text = append(text, piece[:n]...)
	}
	if err == io.EOF {
		err = nil
	}
	return text, err
}

// hears returns what is wrong with a visit.
func (c *chaos) hears(from netip.Addr, listener string, readAll func(io.Reader) ([]byte, error)) error {
	killed, oldest := c.killed.Load(), c.applied.Load()
	text, known, err := c.read(from, listener, readAll)
	newest := c.written.Load()
	wasKilled := c.killing.Load() > killed
	for n := oldest; n <= newest; n++ {
		switch want := chaosGreeting(known, n); {
		case err == nil && string(text) == want:
			c.greeted.Add(1)
			return nil
		case wasKilled && strings.HasPrefix(want, string(text)):
			c.excused.Add(1)
			return nil
		}
	}
	return fmt.Errorf("on %s it hears %d bytes, %.40q to %q, want a greeting of %d to %d: %w", listener, len(text), text, text[max(0, len(text)-30):], oldest, newest, err)
}

// holdOnShortly is holdOn, but not for so long that a restart has to wait.
func (c *chaos) holdOnShortly() error {
	ctx, cancel := context.WithTimeout(c.bout, rand.N(time.Second))
	defer cancel()
	_ = c.holdOn(ctx) // a kill may come between
	return nil
}

// look is that of a soak, which expects somebody to answer.
func (c *chaos) look() error {
	_ = c.soak.look()
	return nil
}

// A chaosJournal counts the visits in the entries of one run of greetd.
type chaosJournal struct {
	*journald.Journal

	reading sync.Mutex // held while the journal is frozen
	frozen  bool       // for the test alone

	mu                  sync.Mutex
	counts              map[service.Outcome]uint64
	seen                map[string]bool // by number
	dropped, suppressed uint64
	last                map[service.Outcome]uint64
	drained             chan struct{} // has an element for each mark
}

const (
	stoppedID = "7d3d4ecb303e43109e398e232aed7798"
	markField = "CHAOS_MARK"
)

func startChaosJournal(t *testing.T) *chaosJournal {
	t.Helper()
	j := &chaosJournal{Journal: journald.Start(t), drained: make(chan struct{}, 1)}
	j.forget()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		buf := make([]byte, 1<<20)
		for {
			n, err := j.Conn.Read(buf)
			if err != nil {
				return
			}
			j.reading.Lock()
			j.count(t, buf[:n])
			j.reading.Unlock()
		}
	}()
	t.Cleanup(func() {
		j.thaw()
		_ = j.Conn.Close()
		<-ended
	})
	return j
}

func (j *chaosJournal) freeze() {
	if !j.frozen {
		j.reading.Lock()
	}
	j.frozen = true
}

func (j *chaosJournal) thaw() {
	if j.frozen {
		j.reading.Unlock()
	}
	j.frozen = false
}

// forget forgets what a former run wrote.
func (j *chaosJournal) forget() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.counts, j.seen, j.last = make(map[service.Outcome]uint64), make(map[string]bool), nil
	j.dropped, j.suppressed = 0, 0
}

func (j *chaosJournal) count(t *testing.T, datagram []byte) {
	t.Helper()
	entry, err := journald.Parse(datagram)
	if err != nil {
		t.Errorf("datagram %q: %v", datagram, err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if _, isMark := entry[markField]; isMark {
		j.drained <- struct{}{}
		return
	}
	if id, outcome := entry["GREETD_VISIT"], entry["GREETD_OUTCOME"]; outcome != "" {
		if j.seen[id] {
			t.Errorf("visit %s is in the journal twice, the second time as %q", id, entry)
		}
		j.seen[id] = true
		j.counts[service.Outcome(outcome)]++
		return
	}
	if entry["MESSAGE_ID"] == stoppedID {
		j.last = make(map[service.Outcome]uint64)
		for _, outcome := range service.Outcomes() {
			j.last[outcome] = entry.Number(t, "GREETD_"+strings.ToUpper(string(outcome)))
		}
		return
	}
	j.dropped += entry.Number(t, "GREETD_DROPPED")
	j.suppressed += entry.Number(t, "GREETD_SUPPRESSED")
	for _, outcome := range service.Outcomes() {
		for _, what := range []string{"GREETD_DROPPED_", "GREETD_SUPPRESSED_"} {
			j.counts[outcome] += entry.Number(t, what+strings.ToUpper(string(outcome)))
		}
	}
}

// drain returns when all that was sent so far is counted.
func (j *chaosJournal) drain(t *testing.T) {
	t.Helper()
	mark, err := net.Dial("unixgram", j.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer mark.Close()
	if _, err := io.WriteString(mark, markField+"=1\n"); err != nil {
		t.Fatal(err)
	}
	<-j.drained
}

// visits are those in all entries, with each outcome.
func (j *chaosJournal) visits() map[service.Outcome]uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	visits := make(map[service.Outcome]uint64)
	for _, outcome := range service.Outcomes() {
		visits[outcome] = j.counts[outcome]
	}
	return visits
}

// missing returns how many entries were dropped and visits suppressed.
func (j *chaosJournal) missing() (dropped, suppressed uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.dropped, j.suppressed
}

// totals are the visits of the last entry, nil without one.
func (j *chaosJournal) totals() map[service.Outcome]uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.last
}
