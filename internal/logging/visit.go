package logging

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"greetd.example/internal/words"
	"greetd.example/pkg/journal"
	"greetd.example/pkg/service"
)

// errorLimit is the maximum number of bytes of the error of a visit in the log. A client can influence the
// text of such an error.
const errorLimit = 512

// Opened implements [service.Observer]. It logs nothing: a visit has one entry, at
// its end.
func (l *Log) Opened(service.Peer) {}

// Closed implements [service.Observer]. It logs the visit, or counts it for the next summary, or omits it
// because of the level, Options.Visits or Options.Skip. It does not block, and allocates only for an error.
func (l *Log) Closed(v service.Visit) {
	event := outcomeEvent(v.Outcome)
	outcome, _ := event.outcomeIndex()
	if !l.wants(event) || l.skips(v.Peer) {
		return
	}
	budget := l.limit.of(event)
	var admitted, first bool
	if l.repeats.again(v.Err) {
		first = budget.suppress(outcome, v)
	} else {
		admitted, first = budget.admit(outcome, v)
	}
	if first {
		l.writer.Wake() // the writer sets the timer for the summary
	}
	if !admitted {
		return
	}
	if stackOf(v.Err) != nil {
		event = GreeterPanicked
	}
	e := newEntry(event, time.Now(), "")
	e.text = appendVisit(e.text, v)
	e.message = len(e.text)
	e.addVisit(v)
	l.put(e)
}

// skips reports whether Options.Skip has the address of a client, so that its visits are not logged.
func (l *Log) skips(p service.Peer) bool {
	skip := l.options.Load().Skip
	if len(skip) == 0 || !p.Remote.IsValid() {
		return false
	}
	addr := p.Remote.Addr().Unmap().WithZone("")
	return slices.ContainsFunc(skip, func(n netip.Prefix) bool { return n.Contains(addr) })
}

// wants reports whether visits with this event are logged, by the level and Options.Visits.
func (l *Log) wants(event Event) bool {
	visits := l.options.Load().Visits
	if visits == none || visits == problems && event == VisitGreeted {
		return false
	}
	return l.enabled(event)
}

// addPeer adds the fields of a client. It omits fields with an unknown value.
func (e *entry) addPeer(p service.Peer) {
	e.addNumber("visit", p.ID)
	e.addText("listener", p.Listener)
	if p.Remote.IsValid() {
		e.addAddr("remote_addr", p.Remote.Addr().Unmap())
		e.addNumber("remote_port", uint64(p.Remote.Port()))
	}
	if p.Proxy.IsValid() {
		e.addAddr("proxy_addr", p.Proxy.Addr().Unmap())
	}
	e.addProxyInfo(p.ProxyInfo)
}

// addVisit adds the fields of a visit. It omits fields with an unknown value.
func (e *entry) addVisit(v service.Visit) {
	e.addPeer(v.Peer)
	e.addText("outcome", string(v.Outcome))
	if e.reason = v.Reason; v.Reason != "" {
		e.addText("reason", string(v.Reason))
	}
	e.addNumber("bytes", uint64(v.Written))
	e.addNumber("duration_usec", uint64(v.Took.Microseconds()))
	e.addError(v.Err)
}

// addProxyInfo adds the fields of p, the information of a proxy about the client. p may be nil.
func (e *entry) addProxyInfo(p *service.ProxyInfo) {
	if p == nil {
		return
	}
	e.addPresent("proxy_authority", p.Authority)
	e.addPresent("proxy_alpn", p.ALPN)
	e.addPresent("proxy_unique_id", p.UniqueID)
	e.addPresent("proxy_ssl_version", p.SSLVersion)
	e.addPresent("proxy_ssl_common_name", p.SSLCommonName)
	e.addPresent("proxy_aws_endpoint_id", p.AWSEndpointID)
	e.addPresent("proxy_azure_endpoint_id", p.AzureEndpointID)
	if p.SSLVersion != "" {
		e.addBool("proxy_ssl_verified", p.SSLVerified)
	}
}

func (e *entry) addPresent(key, text string) {
	if text != "" {
		e.addText(key, text)
	}
}

// addError adds the text of err, and the stack if err is a panic.
func (e *entry) addError(err error) {
	if err == nil {
		return
	}
	e.addText("error", printable(err))
	if stack := stackOf(err); stack != nil {
		e.addText("stack", string(stack))
	}
}

// appendVisit appends the message for a visit, in one line.
func appendVisit(text []byte, v service.Visit) []byte {
	text = append(text, strings.ReplaceAll(string(v.Outcome), "_", " ")...)
	text = appendPeer(append(text, ' '), v.Peer)
	text = words.AppendCount(append(text, ", "...), uint64(v.Written), "byte")
	text = appendDuration(append(text, " in "...), v.Took)
	if v.Err != nil {
		text = append(append(text, ": "...), printable(v.Err)...)
	}
	return text
}

// appendPeer appends the client's address and the listener.
func appendPeer(text []byte, p service.Peer) []byte {
	if p.Remote.IsValid() {
		text = appendAddrPort(text, p.Remote)
	} else {
		text = append(text, "local client"...)
	}
	if p.Proxy.IsValid() {
		text = appendAddrPort(append(text, " via "...), p.Proxy)
	}
	if p.Listener != "" {
		text = append(append(text, " on "...), p.Listener...)
	}
	return text
}

// appendAddrPort appends an address and port. An IPv4 address in IPv4-mapped form, which it has on a socket
// for both families, is written as IPv4.
func appendAddrPort(dst []byte, a netip.AddrPort) []byte {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()).AppendTo(dst)
}

// printable returns the text of err, cut to errorLimit, and without characters that could end a line or
// control a terminal.
func printable(err error) string {
	return string(journal.Cut(words.AppendPrintable(nil, fmt.Append(nil, err)), errorLimit))
}

// stackOf returns the stack if err is a panic, else nil.
func stackOf(err error) []byte {
	if panicked, ok := errors.AsType[*service.PanicError](err); ok {
		return bytes.TrimSpace(panicked.Stack)
	}
	return nil
}

// summary returns the entry for the visits in t, which exceeded a budget within this time.
func summary(t tally, budget string, took time.Duration) *entry {
	text := fmt.Sprintf("suppressed log entries for %s in %s: %s", words.Count(t.total(), "visit"), duration(took), &t.visitCounts)
	var named, values []string
	for _, c := range t.sources.most() {
		named = append(named, fmt.Sprintf("%s (%d)", c.name(), c.visits))
		values = append(values, fmt.Sprintf("%s=%d", c.name(), c.visits))
	}
	if named != nil {
		text += "; most from " + strings.Join(named, ", ")
	}
	if t.err != nil {
		text += "; last error: " + printable(t.err)
	}
	e := newEntry(VisitsSuppressed, time.Now(), text)
	e.visits = t.total()
	e.addNumber("suppressed", e.visits)
	e.addText("budget", budget)
	e.addPresent("top_sources", strings.Join(values, " "))
	t.addTo(e, "suppressed_")
	for i, count := range t.outcomes {
		if kind := eventKinds[VisitGreeted+Event(i)]; count > 0 && kind.priority < e.priority {
			e.level, e.priority = kind.level, kind.priority
		}
	}
	e.addNumber("duration_usec", uint64(took.Microseconds()))
	e.addError(t.err)
	return e
}
