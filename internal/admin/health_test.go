package admin

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"greetd.example/pkg/service"
	"greetd.example/pkg/systemd"
)

// A scene is a daemon with the listener greet, second by second.
type scene struct {
	tracker healthTracker
	now     time.Time
	status  Status
}

func newScene() *scene {
	began := time.Date(2026, 11, 20, 9, 30, 0, 0, time.UTC)
	return &scene{now: began, status: Status{
		State: systemd.Running, Ready: true, Started: began, Log: Log{Output: "journald"},
		Listeners: []Listener{{Name: "greet", State: Listening, Outcomes: Outcomes{}, Reasons: Reasons{service.Refused: {}}}},
	}}
}

// greet is the one listener.
func (s *scene) greet() *Listener { return &s.status.Listeners[0] }

// visits lets visits end at once, for a reason if they were refused.
func (s *scene) visits(n uint64, outcome service.Outcome, reason service.Reason) {
	s.greet().Outcomes[outcome] += n
	if reason != "" {
		s.greet().Reasons[outcome][reason] += n
	}
}

// pass lets seconds pass, and returns the health then.
func (s *scene) pass(seconds int) Health {
	for range seconds {
		s.now = s.now.Add(time.Second)
		s.tracker.complete(s.now, &s.status, true)
	}
	return s.status.Health
}

// words are those of the troubles, with the seconds since the scene began.
func (s *scene) words() (all []string) {
	seconds := func(t time.Time) string { return fmt.Sprint(t.Sub(s.status.Started).Seconds()) }
	for _, t := range s.status.Health.Troubles {
		all = append(all, fmt.Sprintf("%s %s: %s", t.Color, t.When(seconds), t.Message))
	}
	return all
}

func TestHealth(t *testing.T) {
	for name, test := range map[string]struct {
		happen   func(*scene)
		color    Color
		headline string
	}{
		"nobody": {func(*scene) {}, Green, "ready to greet; no client came in the last minute"},
		"all are greeted": {
			func(s *scene) { s.visits(25, service.Greeted, "") },
			Green, "clients are greeted: 25 of 25 in the last minute",
		},
		"a few are lost": {
			func(s *scene) { s.visits(96, service.Greeted, ""); s.visits(4, service.TimedOut, "") },
			Green, "clients are greeted: 96 of 100 in the last minute",
		},
		"one in twenty is lost": {
			func(s *scene) { s.visits(95, service.Greeted, ""); s.visits(5, service.Failed, "") },
			Amber, "listener greet did not greet 5 % of its clients in the last minute: 5 of 100",
		},
		"a fifth is lost": {
			func(s *scene) { s.visits(80, service.Greeted, ""); s.visits(20, service.Cut, "") },
			Red, "listener greet did not greet 20 % of its clients in the last minute: 20 of 100",
		},
		"our certificate is not accepted": {
			func(s *scene) { s.visits(5, service.Greeted, ""); s.visits(5, service.Refused, service.ReasonTLSOurs) },
			Red, "listener greet did not greet 50 % of its clients in the last minute: 5 of 10",
		},
		"nobody speaks TLS": {
			func(s *scene) { s.visits(5, service.Refused, service.ReasonTLSClient) },
			Red, "listener greet greeted none of 5 clients in the last minute",
		},
		"some do not speak TLS": {
			func(s *scene) {
				s.visits(5, service.Refused, service.ReasonTLSClient)
				s.visits(1, service.Greeted, "")
			},
			Green, "clients are greeted: 1 of 1 in the last minute",
		},
		"all are denied": {
			func(s *scene) { s.visits(7, service.Refused, service.ReasonDenied) },
			Amber, "listener greet refused all of 7 clients in the last minute, by access or limits",
		},
		"all hang up": {func(s *scene) { s.visits(50, service.HungUp, "") }, Green, "ready to greet; no client came in the last minute"},
		"accepting fails": {
			func(s *scene) { s.greet().State, s.greet().Trouble = Troubled, "too many open files" },
			Red, "listener greet cannot accept clients: too many open files",
		},
		"full": {func(s *scene) { s.greet().State = Full }, Amber, "listener greet is full: new clients wait"},
		"a removed one had trouble": {
			func(s *scene) { s.greet().State = Removed; s.visits(9, service.Failed, "") },
			Green, "ready to greet; no client came in the last minute",
		},
		"refused reload": {
			func(s *scene) { s.status.Configuration.LastReload = &Reload{At: s.now} },
			Amber, "the last reload was refused, the previous configuration is in use",
		},
		"dropped entries": {func(s *scene) { s.status.Log.Dropped = 1 }, Amber, "1 log entry dropped in the last minute: journald is too slow"},
		"certificate for long": {
			func(s *scene) { s.greet().Certificate = &Certificate{NotAfter: s.now.AddDate(0, 0, 22), DaysLeft: 21} },
			Green, "ready to greet; no client came in the last minute",
		},
		"certificate ends soon": {
			func(s *scene) { s.greet().Certificate = &Certificate{NotAfter: s.now.AddDate(0, 0, 21), DaysLeft: 20} },
			Amber, "the certificate of listener greet expires in 20 days",
		},
		"certificate ends today": {
			func(s *scene) { s.greet().Certificate = &Certificate{NotAfter: s.now.Add(5*time.Hour + time.Minute)} },
			Amber, "the certificate of listener greet expires in 5 hours",
		},
		"certificate has ended": {
			func(s *scene) { s.greet().Certificate = &Certificate{NotAfter: s.now.Add(-time.Hour), DaysLeft: -1} },
			Red, "the certificate of listener greet has expired",
		},
		"a listener is missing": {func(s *scene) { s.status.Ready = false }, Red, "greetd is not ready: it does not serve every listener of its configuration"},
		"draining":              {func(s *scene) { s.status.State, s.status.Ready = systemd.Draining, false }, Amber, "greetd is draining, not ready for new clients"},
		"two at once, the worse first": {func(s *scene) {
			s.greet().State = Full
			s.visits(9, service.Failed, "")
		}, Red, "listener greet greeted none of 9 clients in the last minute (and 1 more)"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, uptime := range []int{0, 3600} { // the minute may reach back before the start
				s := newScene()
				s.pass(uptime)
				test.happen(s)
				if h := s.pass(1); h.Color != test.color || h.Headline != test.headline {
					t.Errorf("after %d s: %s: %s; want %s: %s", uptime, h.Color, h.Headline, test.color, test.headline)
				}
			}
		})
	}
}

// A trouble has its beginning, and its end when it is over.
func TestTroublesHaveTheirTime(t *testing.T) {
	s := newScene()
	s.pass(100)
	for range 30 {
		s.visits(10, service.Failed, "")
		s.pass(1)
	}
	if got := s.words(); len(got) != 1 || got[0] != "red since 101: listener greet greeted none of 300 clients in the last minute" {
		t.Errorf("%q", got)
	}
	if h := s.pass(59); h.Color != Red {
		t.Errorf("%s within the minute", h.Color)
	}
	if h := s.pass(2); h.Color != Green {
		t.Errorf("%s: %s after the minute", h.Color, h.Headline)
	}
	if got := s.words(); len(got) != 1 || !strings.HasPrefix(got[0], "red 101 to 130: ") {
		t.Errorf("%q, want it from 101 to 130", got)
	}

	// What comes again within a minute was not over.
	s.greet().State = Full
	s.pass(5)
	s.greet().State = Listening
	s.pass(30)
	s.greet().State = Full
	s.pass(5)
	if got := s.words(); len(got) != 2 || got[0] != "amber since 192: listener greet is full: new clients wait" {
		t.Errorf("%q", got)
	}
	s.greet().State = Listening
	s.pass(5)
	if got := s.words(); len(got) != 2 || got[0] != "amber 192 to 232: listener greet is full: new clients wait" {
		t.Errorf("%q", got)
	}

	// The list is bounded.
	for range 3 * pastTroubles {
		s.greet().State = Full
		s.pass(1)
		s.greet().State = Listening
		s.pass(100)
	}
	if got := len(s.status.Health.Troubles); got != pastTroubles {
		t.Errorf("%d troubles are kept", got)
	}
}

// A trouble that comes again begins after the end of the past one, even if single losses in between were no trouble.
func TestTroubleComesAgain(t *testing.T) {
	s := newScene()
	s.pass(100)
	lose := func() {
		for range 30 {
			s.visits(10, service.Failed, "")
			s.pass(1)
		}
	}
	lose()
	for range 10 {
		s.visits(1000, service.Greeted, "")
		s.visits(1, service.Failed, "")
		s.pass(30)
	}
	if got := s.words(); len(got) != 1 || !strings.HasPrefix(got[0], "amber 101 to ") {
		t.Fatalf("%q, want it to be over", got)
	}
	lose()
	troubles := s.status.Health.Troubles
	if len(troubles) != 2 || !troubles[0].Since.After(*troubles[1].Until) {
		t.Errorf("%q, want the present one to begin after the end of the past one", s.words())
	}
}

func TestListenersOfTheLastMinute(t *testing.T) {
	s := newScene()
	s.pass(3600)
	s.visits(90, service.Greeted, "")
	s.visits(10, service.Failed, "")
	s.visits(20, service.Refused, service.ReasonDenied)
	s.status.Listeners = append(s.status.Listeners, Listener{Name: "greet"}) // another socket of that name
	s.pass(1)
	if l := s.greet(); l.VisitsPerSecond < 1.9 || l.VisitsPerSecond > 2.1 || l.GreetedRatio == nil || *l.GreetedRatio != 0.9 {
		t.Errorf("%v a second, ratio %v", l.VisitsPerSecond, l.GreetedRatio)
	}
	if other := s.status.Listeners[1]; other.VisitsPerSecond != 0 || other.GreetedRatio != nil {
		t.Errorf("%+v", other)
	}
	s.status.Listeners = slices.Delete(s.status.Listeners, 1, 2)
	s.greet().GreetedRatio = nil // as a new status is
	s.pass(61)
	if l := s.greet(); l.VisitsPerSecond != 0 {
		t.Errorf("%v a second after a calm minute", l.VisitsPerSecond)
	}
}
