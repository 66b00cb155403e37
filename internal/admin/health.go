package admin

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"time"

	"greetd.example/internal/words"
	"greetd.example/pkg/service"
	"greetd.example/pkg/systemd"
)

const (
	healthWindow = time.Minute // that visits count for
	pastTroubles = 20          // that are over, and still shown
	fewVisits    = 5           // fewer that were lost or refused say nothing
	amberShare   = 0.01        // of clients that are lost
	redShare     = 0.1
	amberDays    = 21 // before a certificate expires
)

// A Color says how well clients are served. Red: some listener does not do its work. Amber: it does, and
// somebody should look.
type Color string

// The colors, from the best to the worst.
const (
	Green Color = "green"
	Amber Color = "amber"
	Red   Color = "red"
)

// rank orders colors by how bad they are.
func (c Color) rank() int { return slices.Index([]Color{Green, Amber, Red}, c) }

// A Health says how well a daemon serves its clients.
type Health struct {
	Color    Color     `json:"color"`    // of the worst present trouble
	Headline string    `json:"headline"` // one sentence
	Troubles []Trouble `json:"troubles"` // present ones first, the worst before the others; then those that are over, the latest first
}

// A Trouble is a reason why clients are not, or may soon not be, served well.
type Trouble struct {
	Color    Color      `json:"color"`
	Listener string     `json:"listener"` // "": it is not of one listener
	Message  string     `json:"message"`
	Since    time.Time  `json:"since"`
	Until    *time.Time `json:"until"` // nil while it is present

	key string // the same for the same trouble of the same listener
}

// A healthTracker remembers the samples and troubles of the past. Its methods may be called at once from
// many goroutines.
type healthTracker struct {
	mu      sync.Mutex
	samples []healthSample // of the last healthWindow, the oldest first
	lossy   map[string]episode
	present []Trouble
	past    []Trouble // the latest first
}

// An episode is a time in which something happened again within each healthWindow.
type episode struct{ first, last time.Time }

// A healthSample is what was counted at a time.
type healthSample struct {
	at        time.Time
	listeners map[string]healthCounts
	dropped   uint64
}

// healthCounts counts the visits of a listener. Clients that hang up by themselves are not counted.
type healthCounts struct {
	visits  uint64 // all, those that hang up among them
	greeted uint64
	lost    uint64 // they should have been greeted
	refused uint64 // they did not do what the listener expects of its clients
	denied  uint64 // the configuration refuses them
}

func countsOf(l Listener) (c healthCounts) {
	for _, n := range l.Outcomes {
		c.visits += n
	}
	ours := l.Reasons[service.Refused][service.ReasonTLSOurs]
	c.greeted = l.Outcomes[service.Greeted]
	c.lost = l.Outcomes[service.Failed] + l.Outcomes[service.TimedOut] + l.Outcomes[service.Cut] + ours
	c.denied = l.Reasons[service.Refused][service.ReasonDenied] + l.Reasons[service.Refused][service.ReasonOverLimit]
	c.refused = l.Outcomes[service.Refused] - ours - c.denied
	return c
}

// since returns what was counted after an earlier time.
func (c healthCounts) since(before healthCounts) healthCounts {
	return healthCounts{
		c.visits - before.visits, c.greeted - before.greeted, c.lost - before.lost,
		c.refused - before.refused, c.denied - before.denied,
	}
}

func sampleOf(now time.Time, s *Status) healthSample {
	sample := healthSample{now, make(map[string]healthCounts), s.Log.Dropped}
	for _, l := range s.Listeners {
		if _, known := sample.listeners[l.Name]; !known { // of several sockets, the first has the counts
			sample.listeners[l.Name] = countsOf(l)
		}
	}
	return sample
}

// complete adds to a status of now what takes knowledge of the past: Health, and what each listener did in
// the last minute. If keep is true, later calls know of it; that is for once a second.
func (ht *healthTracker) complete(now time.Time, s *Status, keep bool) {
	ht.mu.Lock()
	defer ht.mu.Unlock()
	sample := sampleOf(now, s)
	ht.remember(sample)
	base := ht.base(sample, s.Started)
	seconds := sample.at.Sub(base.at).Seconds()
	troubles := ht.commonTroubles(s, sample, base)
	var all healthCounts
	for i := range s.Listeners {
		l := &s.Listeners[i]
		if slices.ContainsFunc(s.Listeners[:i], func(other Listener) bool { return other.Name == l.Name }) {
			continue
		}
		recent := sample.listeners[l.Name].since(base.listeners[l.Name])
		if seconds > 0 {
			l.VisitsPerSecond = float64(recent.visits) / seconds
		}
		if meant := recent.greeted + recent.lost; meant > 0 {
			ratio := float64(recent.greeted) / float64(meant)
			l.GreetedRatio = &ratio
		}
		if !l.State.Gone() {
			troubles = append(troubles, ht.listenerTroubles(now, *l, recent)...)
			all.greeted, all.lost = all.greeted+recent.greeted, all.lost+recent.lost
		}
	}
	ht.update(now, troubles)
	s.Health = ht.health(all)
	if keep {
		ht.samples = append(ht.samples, sample)
	}
}

// remember notes losses since the latest sample, and forgets what is old.
func (ht *healthTracker) remember(sample healthSample) {
	if ht.lossy == nil {
		ht.lossy = make(map[string]episode)
	}
	var latest healthSample
	if len(ht.samples) > 0 {
		latest = ht.samples[len(ht.samples)-1]
	}
	note := func(key string, more bool) {
		e := ht.lossy[key]
		switch {
		case !more:
			return
		case sample.at.Sub(e.last) > healthWindow:
			e.first = sample.at
		}
		e.last = sample.at
		ht.lossy[key] = e
	}
	for name, counts := range sample.listeners {
		recent := counts.since(latest.listeners[name])
		note(name, recent.lost+recent.refused+recent.denied > 0)
	}
	note("", sample.dropped > latest.dropped)
	ht.samples = slices.DeleteFunc(ht.samples, func(old healthSample) bool { return sample.at.Sub(old.at) > healthWindow })
}

// base is what was counted when the window began: nothing, where that is before the start.
func (ht *healthTracker) base(sample healthSample, started time.Time) healthSample {
	switch {
	case sample.at.Sub(started) <= healthWindow:
		return healthSample{at: started}
	case len(ht.samples) == 0:
		return sample
	}
	return ht.samples[0]
}

// commonTroubles are those that are not of one listener.
func (ht *healthTracker) commonTroubles(s *Status, sample, base healthSample) (troubles []Trouble) {
	switch {
	case s.State == systemd.Running && !s.Ready:
		troubles = append(troubles, Trouble{Color: Red, Message: "greetd is not ready: it does not serve every listener of its configuration", key: "state"})
	case s.State == systemd.Starting, s.State == systemd.Draining, s.State == systemd.LameDuck:
		troubles = append(troubles, Trouble{Color: Amber, Message: "greetd is " + string(s.State) + ", not ready for new clients", key: "state"})
	}
	if last := s.Configuration.LastReload; last != nil && !last.OK {
		troubles = append(troubles, Trouble{
			Color: Amber, Message: "the last reload was refused, the previous configuration is in use", Since: last.At, key: "reload",
		})
	}
	if n := sample.dropped - base.dropped; n > 0 {
		troubles = append(troubles, Trouble{
			Color: Amber, Message: words.Count(n, "log entry") + " dropped in the last minute: " + s.Log.Output + " is too slow",
			Since: ht.lossy[""].first, Until: new(ht.lossy[""].last), key: "log",
		})
	}
	return troubles
}

// listenerTroubles are those of one listener.
func (ht *healthTracker) listenerTroubles(now time.Time, l Listener, recent healthCounts) (troubles []Trouble) {
	name := words.Printable(l.Name)
	add := func(kind string, color Color, since time.Time, message string) {
		troubles = append(troubles, Trouble{Color: color, Listener: l.Name, Message: message, Since: since, key: kind + " " + l.Name})
	}
	switch l.State {
	case Troubled:
		add("accept", Red, time.Time{}, "listener "+name+" cannot accept clients: "+words.Printable(l.Trouble))
	case Full:
		add("full", Amber, time.Time{}, "listener "+name+" is full: new clients wait")
	}
	if kind, color, message := recent.trouble(name); kind != "" {
		add(kind, color, ht.lossy[l.Name].first, message)
		troubles[len(troubles)-1].Until = new(ht.lossy[l.Name].last)
	}
	if c := l.Certificate; c != nil {
		switch {
		case now.After(c.NotAfter):
			add("certificate", Red, c.NotAfter, "the certificate of listener "+name+" has expired")
		case c.DaysLeft < amberDays:
			add("certificate", Amber, c.NotAfter.AddDate(0, 0, -amberDays), "the certificate of listener "+name+" expires in "+words.Count(c.DaysLeft, "day"))
		}
	}
	return troubles
}

// trouble says what is wrong with the recent visits of a listener; kind is "" if nothing is.
func (c healthCounts) trouble(name string) (kind string, color Color, message string) {
	share := float64(c.lost) / float64(max(c.greeted+c.lost, 1))
	switch {
	case c.greeted == 0 && c.lost+c.refused >= fewVisits:
		n := c.lost + c.refused + c.denied
		return "clients", Red, fmt.Sprintf("listener %s greeted none of %s in the last minute", name, words.Count(n, "client"))
	case c.greeted == 0 && c.denied >= fewVisits:
		return "clients", Amber, fmt.Sprintf("listener %s refused all of %s in the last minute, by access or limits", name, words.Count(c.denied, "client"))
	case c.lost >= fewVisits && share >= redShare:
		color = Red
	case c.lost >= fewVisits && share >= amberShare:
		color = Amber
	default:
		return "", "", ""
	}
	return "clients", color, fmt.Sprintf("listener %s did not greet %.2g %% of its clients in the last minute: %d of %d", name, 100*share, c.lost, c.greeted+c.lost)
}

// update compares the troubles of now with those that were present. One that comes again within
// healthWindow was not over.
func (ht *healthTracker) update(now time.Time, troubles []Trouble) {
	before := ht.present
	ht.present = nil
	for _, t := range troubles {
		same := func(other Trouble) bool { return other.key == t.key }
		if i := slices.IndexFunc(before, same); i >= 0 {
			t.Since = before[i].Since
			before = slices.Delete(before, i, i+1)
		} else if i := slices.IndexFunc(ht.past, same); i >= 0 && now.Sub(*ht.past[i].Until) <= healthWindow {
			t.Since = ht.past[i].Since
			ht.past = slices.Delete(ht.past, i, i+1)
		} else if t.Since.IsZero() {
			t.Since = now
		}
		ht.present = append(ht.present, t)
	}
	for _, t := range before {
		if t.Until == nil {
			t.Until = new(now)
		}
		ht.past = slices.Insert(ht.past, 0, t)
	}
	ht.past = ht.past[:min(len(ht.past), pastTroubles)]
	slices.SortStableFunc(ht.present, func(a, b Trouble) int {
		return cmp.Or(b.Color.rank()-a.Color.rank(), a.Since.Compare(b.Since))
	})
}

// health summarizes the troubles. all is what became of the clients of the last minute.
func (ht *healthTracker) health(all healthCounts) Health {
	h := Health{Color: Green, Troubles: make([]Trouble, 0, len(ht.present)+len(ht.past))}
	for _, t := range ht.present {
		t.Until = nil // it was when it was seen last
		h.Troubles = append(h.Troubles, t)
	}
	h.Troubles = append(h.Troubles, ht.past...)
	switch {
	case len(ht.present) > 0:
		h.Color, h.Headline = ht.present[0].Color, ht.present[0].Message
		if more := len(ht.present) - 1; more > 0 {
			h.Headline += fmt.Sprintf(" (and %d more)", more)
		}
	case all.greeted+all.lost == 0:
		h.Headline = "ready to greet; no client came in the last minute"
	default:
		h.Headline = fmt.Sprintf("clients are greeted: %d of %d in the last minute", all.greeted, all.greeted+all.lost)
	}
	return h
}
