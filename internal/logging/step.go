package logging

import (
	"crypto/tls"
	"strings"
	"time"

	"greetd.example/internal/words"
	"greetd.example/pkg/journal"
	"greetd.example/pkg/service"
)

// mostSteps is the maximum number of entries for the steps of one visit.
const mostSteps = 7

// Trace is the Trace of a [service.Server]. At the level debug it returns a function that logs each step of a
// visit. At every other level it returns nil, and does not allocate. The steps count against the budget of
// greeted visits. If the budget is exhausted, no step of the visit is logged, and one entry a second has the
// number of such visits.
func (l *Log) Trace(service.Peer) func(service.Step) {
	if !l.enabled(VisitStep) || l.options.Load().Visits == none {
		return nil
	}
	return (&visitSteps{log: l}).add
}

type visitSteps struct {
	log               *Log
	asked, suppressed bool // whether the budget was asked, and whether it has refused
}

// add logs a step, unless Options.Skip has the client. The address of the client can change with the PROXY
// header, from a proxy that is skipped to a client that is not. So the budget is asked at the first step that
// is to be logged.
func (t *visitSteps) add(s service.Step) {
	l := t.log
	if t.suppressed || !l.enabled(VisitStep) || l.skips(s.Peer) {
		return
	}
	if !t.asked {
		t.asked = true
		if t.suppressed = !l.limit[greetedBudget].admitSteps(); t.suppressed {
			if l.untraced.add(func(n *uint64) { *n++ }) {
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

// addStep adds the fields of a step. It does not add the fields outcome and reason, which count visits.
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

// stepVerbs are the beginnings of the messages, before the client.
var stepVerbs = map[service.StepName]string{
	service.StepAccepted:     "accepted ",
	service.StepProxyHeader:  "read PROXY header of ",
	service.StepAdmitted:     "admitted ",
	service.StepTLSHandshake: "finished TLS handshake with ",
	service.StepGreeting:     "wrote greeting to ",
	service.StepHalfClosed:   "half-closed ",
	service.StepClosed:       "closed ",
}

// closeWords are the reasons why a connection was closed, in words.
var closeWords = map[service.CloseCause]string{
	service.CloseByClient: "the client closed it",
	service.CloseTimeout:  "timeouts.linger passed",
	service.CloseEvicted:  "another connection needed its place",
	service.CloseShutdown: "greetd shuts down",
}

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

// printableText returns s, a text that a client has sent, cut to errorLimit, and without characters that
// could end a line or control a terminal.
func printableText(s string) string {
	return string(journal.Cut(words.AppendPrintable(nil, []byte(s)), errorLimit))
}
