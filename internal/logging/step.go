package logging

import (
	"crypto/tls"
	"strings"
	"sync"
	"time"

	"greetd.example/internal/words"
	"greetd.example/pkg/journal"
	"greetd.example/pkg/service"
)

// mostSteps is how many entries the steps of a visit make at most.
const mostSteps = 7

// Trace is the Trace of a [service.Server]. At level debug it returns what logs each step of a visit;
// at every other level nil, and without allocating. The steps have the budget of greeted visits: a visit
// that finds it used up has none, and an entry a second counts such visits.
func (l *Log) Trace(service.Peer) func(service.Step) {
	if !l.enabled(VisitStep) || *l.visits.Load() == none {
		return nil
	}
	return (&visitSteps{log: l}).add
}

// visitSteps logs the steps of one visit.
type visitSteps struct {
	log               *Log
	asked, suppressed bool // of the budget
}

// add logs a step, unless the client is one of Options.Skip. A proxy may be one, and who comes through
// it not: so the budget is asked for the first step that is to be logged.
func (t *visitSteps) add(s service.Step) {
	l := t.log
	if t.suppressed || !l.enabled(VisitStep) || l.skips(s.Peer) {
		return
	}
	if !t.asked {
		t.asked = true
		if t.suppressed = !l.limit[greetedBudget].admitSteps(); t.suppressed {
			if l.untraced.add() {
				l.writer.Wake()
			}
			return
		}
	}
	e := newEntry(VisitStep, time.Now(), "")
	e.text = appendStep(e.text, s)
	e.message = len(e.text)
	e.addStep(s)
	l.put(e)
}

// addStep adds the fields of a step. Those that count visits are not among them.
func (e *entry) addStep(s service.Step) {
	e.addPeer(s.Peer)
	e.addText("step", string(s.Name))
	e.addNumber("elapsed_usec", uint64(s.Elapsed.Microseconds()))
	if s.TLS != nil {
		e.addText("tls_version", tls.VersionName(s.TLS.Version))
		e.addText("tls_cipher", tls.CipherSuiteName(s.TLS.CipherSuite))
		e.addPresent("tls_server_name", printableText(s.TLS.ServerName))
	}
	if s.Name == service.StepGreeting {
		e.addNumber("bytes", uint64(s.Written))
	}
	e.addPresent("close_cause", string(s.Closed))
}

// stepVerbs say what happened, before the client.
var stepVerbs = map[service.StepName]string{
	service.StepAccepted:     "accepted ",
	service.StepProxyHeader:  "read PROXY header of ",
	service.StepAdmitted:     "admitted ",
	service.StepTLSHandshake: "finished TLS handshake with ",
	service.StepGreeting:     "wrote greeting to ",
	service.StepHalfClosed:   "half-closed ",
	service.StepClosed:       "closed ",
}

// closeWords say why a connection was closed.
var closeWords = map[service.CloseCause]string{
	service.CloseByClient: "the client closed it",
	service.CloseTimeout:  "timeouts.linger passed",
	service.CloseEvicted:  "another connection needed its place",
	service.CloseShutdown: "greetd shuts down",
}

// appendStep appends what a person reads of a step, in one line.
func appendStep(text []byte, s service.Step) []byte {
	text = appendPeer(append(text, stepVerbs[s.Name]...), s.Peer)
	text = appendDuration(append(text, ", after "...), s.Elapsed)
	switch s.Name {
	case service.StepGreeting:
		text = words.AppendCount(append(text, ": "...), uint64(s.Written), "byte")
	case service.StepTLSHandshake:
		text = append(append(text, ": "...), tls.VersionName(s.TLS.Version)...)
		text = append(append(text, ", "...), tls.CipherSuiteName(s.TLS.CipherSuite)...)
		if s.TLS.ServerName != "" {
			text = append(append(text, ", server name "...), printableText(s.TLS.ServerName)...)
		}
	case service.StepClosed:
		text = append(append(text, ": "...), strings.ReplaceAll(string(s.Visit.Outcome), "_", " ")...)
		if s.Visit.Reason != "" {
			text = append(append(append(text, " ("...), s.Visit.Reason...), ')')
		}
		if s.Closed != service.CloseVisitEnded {
			text = appendDuration(append(text, ", lingered "...), s.Elapsed-s.Visit.Took)
			text = append(append(text, ", "...), closeWords[s.Closed]...)
		}
	}
	return text
}

// untraced counts visits whose steps were not logged. Its methods may be called at once.
type untraced struct {
	mu    sync.Mutex
	since time.Time // when the first one was counted; zero: none was
	n     uint64
}

// add counts a visit, and reports whether nothing was counted before it.
func (u *untraced) add() (first bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if first = u.n == 0; first {
		u.since = time.Now()
	}
	u.n++
	return first
}

// take returns what was counted since the last take, and when there will be something, as [limiter.take]
// does.
func (u *untraced) take(age time.Duration) (n uint64, due time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.n == 0 {
		return 0, time.Time{}
	}
	if due = u.since.Add(age); time.Now().Before(due) {
		return 0, due
	}
	n, u.n = u.n, 0
	return n, time.Time{}
}

// printableText returns what a client sent, cut, without anything that could end a line or steer a
// terminal.
func printableText(s string) string {
	return string(journal.Cut(words.AppendPrintable(nil, []byte(s)), errorLimit))
}
