package logging

import (
	"crypto/tls"
	"encoding/json"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"greetd.example/internal/test/journald"
	"greetd.example/pkg/service"
)

// stepsOf makes all steps of a visit that its client ended, over TLS and behind a proxy.
func stepsOf(id uint64) []service.Step {
	behind := visit(id, service.Greeted)
	direct := behind.Peer
	behind.Proxy = netip.MustParseAddrPort("10.0.0.1:4000")
	direct.Remote = behind.Proxy
	return []service.Step{
		{Peer: direct, Name: service.StepAccepted, Elapsed: 12 * time.Microsecond},
		{Peer: behind.Peer, Name: service.StepProxyHeader, Elapsed: 40 * time.Microsecond},
		{Peer: behind.Peer, Name: service.StepAdmitted, Elapsed: 41 * time.Microsecond},
		{Peer: behind.Peer, Name: service.StepTLSHandshake, Elapsed: time.Millisecond, TLS: &tls.ConnectionState{
			Version: tls.VersionTLS13, CipherSuite: tls.TLS_AES_128_GCM_SHA256, ServerName: "greet.example\x1b[2J",
		}},
		{Peer: behind.Peer, Name: service.StepGreeting, Elapsed: 1200 * time.Microsecond, Written: 25},
		{Peer: behind.Peer, Name: service.StepHalfClosed, Elapsed: 1234 * time.Microsecond},
		{Peer: behind.Peer, Name: service.StepClosed, Elapsed: 3234 * time.Microsecond, Visit: behind, Closed: service.CloseByClient},
	}
}

// stepMessages are those of stepsOf.
var stepMessages = []string{
	"accepted 10.0.0.1:4000 on greet, after 12 us",
	"read PROXY header of 192.0.2.7:51234 via 10.0.0.1:4000 on greet, after 40 us",
	"admitted 192.0.2.7:51234 via 10.0.0.1:4000 on greet, after 41 us",
	`finished TLS handshake with 192.0.2.7:51234 via 10.0.0.1:4000 on greet, after 1.0 ms: TLS 1.3, TLS_AES_128_GCM_SHA256, server name greet.example\x1b[2J`,
	"wrote greeting to 192.0.2.7:51234 via 10.0.0.1:4000 on greet, after 1.2 ms: 25 bytes",
	"half-closed 192.0.2.7:51234 via 10.0.0.1:4000 on greet, after 1.2 ms",
	"closed 192.0.2.7:51234 via 10.0.0.1:4000 on greet, after 3.2 ms: greeted, lingered 2.0 ms, the client closed it",
}

// logSteps logs them as a server would.
func logSteps(l *Log, all []service.Step) {
	if step := l.Trace(all[0].Peer); step != nil {
		for _, s := range all {
			step(s)
		}
	}
}

// debugging are options under which steps are logged.
func debugging() Options {
	o := defaults
	o.Level = "debug"
	return o
}

func messagesOf(entries []journald.Fields) (messages []string) {
	for _, e := range entries {
		messages = append(messages, e["MESSAGE"])
	}
	return messages
}

func TestStepsInTheJournal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, c := inMemory(t, debugging())
		logSteps(l, stepsOf(7))
		time.Sleep(time.Second)
		got := c.take()
		if messages := messagesOf(got); !slices.Equal(messages, stepMessages) {
			t.Fatalf("%q\nwant\n%q", messages, stepMessages)
		}
		common := journald.Fields{
			"PRIORITY": "7", "SYSLOG_IDENTIFIER": "greetd", "MESSAGE_ID": VisitStep.ID(),
			"GREETD_VISIT": "7", "GREETD_LISTENER": "greet", "GREETD_REMOTE_ADDR": "192.0.2.7",
			"GREETD_REMOTE_PORT": "51234", "GREETD_PROXY_ADDR": "10.0.0.1",
		}
		for i, own := range map[int]journald.Fields{
			3: {
				"GREETD_STEP": "tls_handshake", "GREETD_ELAPSED_USEC": "1000", "GREETD_TLS_VERSION": "TLS 1.3",
				"GREETD_TLS_CIPHER": "TLS_AES_128_GCM_SHA256", "GREETD_TLS_SERVER_NAME": `greet.example\x1b[2J`,
			},
			4: {"GREETD_STEP": "greeting", "GREETD_ELAPSED_USEC": "1200", "GREETD_BYTES": "25"},
			6: {"GREETD_STEP": "closed", "GREETD_ELAPSED_USEC": "3234", "GREETD_CLOSE_CAUSE": "client"},
		} {
			want := journald.Fields{"MESSAGE": stepMessages[i]}
			for _, fields := range []journald.Fields{common, own} {
				maps.Copy(want, fields)
			}
			compare(t, got[i], want)
		}
	})
}

func TestStepsInTextAndJSON(t *testing.T) {
	for i, s := range stepsOf(7) {
		e := newEntry(VisitStep, time.Now(), "")
		e.text = appendStep(e.text, s)
		e.message = len(e.text)
		e.addStep(s)
		if line := string(textForm{journal: true}.append(nil, e, 1000)); line != "<7>"+stepMessages[i]+"\n" {
			t.Errorf("text: %q", line)
		}
		var object map[string]any
		if err := json.Unmarshal(jsonForm{}.append(nil, e, 1000), &object); err != nil {
			t.Fatal(err)
		}
		if object["level"] != "debug" || object["msg"] != stepMessages[i] || object["step"] != string(s.Name) || object["visit"] != 7.0 ||
			object["elapsed_usec"] != float64(s.Elapsed.Microseconds()) {
			t.Errorf("JSON: %v", object)
		}
	}
}

// The ways to end that the table above has not.
func TestLastStepSaysHowItEnded(t *testing.T) {
	for want, s := range map[string]service.Step{
		": refused (denied)": {Visit: visit(1, service.Refused), Closed: service.CloseVisitEnded},
		": greeted":          {Visit: visit(1, service.Greeted), Closed: service.CloseVisitEnded},
		": greeted, lingered 998.8 ms, timeouts.linger passed":              {Visit: visit(1, service.Greeted), Closed: service.CloseTimeout},
		": greeted, lingered 998.8 ms, another connection needed its place": {Visit: visit(1, service.Greeted), Closed: service.CloseEvicted},
		": greeted, lingered 998.8 ms, greetd shuts down":                   {Visit: visit(1, service.Greeted), Closed: service.CloseShutdown},
	} {
		s.Name, s.Elapsed = service.StepClosed, time.Second
		if got := string(appendStep(nil, s)); got != "closed local client, after 1.0 s"+want {
			t.Errorf("%q, want %q at its end", got, want)
		}
	}
}

func TestStepsAreForDebug(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, c := inMemory(t, defaults)
		if n := testing.AllocsPerRun(100, func() { logSteps(l, never) }); n != 0 {
			t.Errorf("steps that nobody wants allocate %v times", n)
		}
		begun := l.Trace(service.Peer{})
		if begun != nil {
			t.Error("steps at level info")
		}
		l.SetLevel("debug")
		if begun = l.Trace(service.Peer{}); begun == nil {
			t.Fatal("no steps at level debug")
		}
		l.SetLevel("info")
		begun(stepsOf(1)[0]) // the visit began before
		o := debugging()
		o.Visits = "none"
		if err := l.Apply(o); err != nil {
			t.Fatal(err)
		}
		logSteps(l, stepsOf(1))
		time.Sleep(time.Second)
		for _, e := range c.take() {
			if e["MESSAGE_ID"] == VisitStep.ID() {
				t.Errorf("%v", e)
			}
		}
	})
}

// never are steps of which it does not matter whether they are logged.
var never = stepsOf(1)

// Who is in log.skip has no steps either. Behind a proxy, the client counts: the proxy may be in log.skip
// because of its health checks.
func TestSkippedClientsHaveNoSteps(t *testing.T) {
	for _, test := range []struct {
		skip string
		want []string
	}{
		{"192.0.2.7/32", stepMessages[:1]},
		{"10.0.0.1/32", stepMessages[1:]},
		{"0.0.0.0/0", nil},
	} {
		synctest.Test(t, func(t *testing.T) {
			o := debugging()
			o.Skip = []netip.Prefix{netip.MustParsePrefix(test.skip)}
			l, c := inMemory(t, o)
			logSteps(l, stepsOf(7))
			time.Sleep(time.Second)
			if got := messagesOf(c.take()); !slices.Equal(got, test.want) {
				t.Errorf("log.skip %s: %q", test.skip, got)
			}
		})
	}
}

// Steps are part of log.rate, and a visit has all of them or none.
func TestStepsHaveABudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := debugging()
		o.Rate, o.Burst = 10, 3*mostSteps
		l, c := inMemory(t, o)
		for id := range uint64(10) {
			logSteps(l, stepsOf(id))
		}
		time.Sleep(2 * time.Second)
		visits := map[string]int{}
		var rest []string
		for _, e := range c.take() {
			if e["MESSAGE_ID"] == VisitStep.ID() {
				visits[e["GREETD_VISIT"]]++
			} else {
				rest = append(rest, e["MESSAGE"])
			}
		}
		if len(visits) != 3 || visits["0"] != mostSteps || visits["2"] != mostSteps {
			t.Errorf("steps of the visits %v", visits)
		}
		if want := []string{"log.rate reached: did not log the steps of 7 visits"}; !slices.Equal(rest, want) {
			t.Errorf("%q, want %q", rest, want)
		}
		o.Burst = 1 // less than a visit needs: some must be seen all the same
		if err := l.Apply(o); err != nil {
			t.Fatal(err)
		}
		logSteps(l, stepsOf(11))
		time.Sleep(time.Second)
		if got := c.take(); len(got) != mostSteps {
			t.Errorf("%d entries with a small burst", len(got))
		}
	})
}

// The count of visits without steps comes after a second, also where nothing else is logged.
func TestStepsLeftOutAreReportedInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := debugging()
		o.Visits, o.Rate, o.Burst = problems, 1, mostSteps
		l, c := inMemory(t, o)
		logSteps(l, stepsOf(1))
		if got := len(c.take()); got != mostSteps {
			t.Errorf("%d entries of the first visit", got)
		}
		logSteps(l, stepsOf(2))
		time.Sleep(time.Second)
		if got := messagesOf(c.take()); !slices.Equal(got, []string{"log.rate reached: did not log the steps of 1 visit"}) {
			t.Errorf("after a second %q", got)
		}
	})
}
