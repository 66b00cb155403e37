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
	healthWindow = time.Minute // a visit counts for this time
	pastTroubles = 20          // number of past troubles that are shown
	fewVisits    = 5           // fewer lost or refused visits are not a trouble
	amberShare   = 0.01        // share of lost clients from which the color is amber
	redShare     = 0.1         // share of lost clients from which the color is red
	amberDays    = 21          // a certificate with fewer days left is amber
)

// A Color says how well clients are served. Red means that a listener does not work as it should. Amber means
// that all listeners work, but an operator should look.
type Color string

// The colors, from the best to the worst.
const (
	Green Color = "green"
	Amber Color = "amber"
	Red   Color = "red"
)

// rank returns the severity of c; green has 0.
func (c Color) rank() int { return slices.Index([]Color{Green, Amber, Red}, c) }

// A Health says how well a daemon serves its clients.
type Health struct {
	Color    Color     `json:"color"`    // of the worst present trouble; green without one
	Headline string    `json:"headline"` // one sentence
	Troubles []Trouble `json:"troubles"` // first the present troubles, the worst first; then the past troubles, the latest first
}

// A Trouble is a reason why clients are not served well, or can soon not be served well.
type Trouble struct {
	Color    Color      `json:"color"`
	Listener string     `json:"listener"` // "" if the trouble is not of one listener
	Message  string     `json:"message"`
	Since    time.Time  `json:"since"`
	Until    *time.Time `json:"until"` // nil while it is present

	key string // identifies the kind of the trouble and its listener
}

// A healthTracker keeps past samples and troubles. Many goroutines may call complete at once; it locks the
// mutex for the other methods.
type healthTracker struct {
	mu      sync.Mutex
	samples []healthSample     // of the last healthWindow, the oldest first
	lossy   map[string]episode // of lost or refused visits, by listener; "": of dropped log entries
	present []Trouble
	past    []Trouble // the latest first
}

// An episode is a period of events with at most one healthWindow between an event and the next one. first
// and last are the times of its first and its last event.
type episode struct{ first, last time.Time }

// A healthSample has the counts at one time.
type healthSample struct {
	at        time.Time
	listeners map[string]healthCounts
	dropped   uint64
}

// healthCounts has the counts of the visits of a listener. Only the field visits includes clients that hang
// up by themselves.
type healthCounts struct {
	visits  uint64 // all visits, including clients that hang up
	greeted uint64
	lost    uint64 // clients that should have been greeted, but were not
	refused uint64 // clients that did not do what the listener requires, such as a PROXY header
	denied  uint64 // clients that the access lists or the limits of the configuration refuse
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

// since returns the difference between c and the counts at an earlier time.
func (c healthCounts) since(before healthCounts) healthCounts {
	return healthCounts{
		c.visits - before.visits, c.greeted - before.greeted, c.lost - before.lost,
		c.refused - before.refused, c.denied - before.denied,
	}
}

func sampleOf(now time.Time, s *Status) healthSample {
	sample := healthSample{now, make(map[string]healthCounts), s.Log.Dropped}
	for _, l := range s.Listeners {
		if _, known := sample.listeners[l.Name]; !known { // of several sockets with one name, the first has the counts
			sample.listeners[l.Name] = countsOf(l)
		}
	}
	return sample
}

// complete sets the fields of s, a status of now, that depend on the past: Health, and the visits of each
// listener in the last minute. If keep is true, it keeps the counts for later calls. keepHistory sets keep,
// once a second.
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

// remember updates lossy with the losses since the latest sample, and removes samples that are older than
// healthWindow.
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

// base returns the counts at the beginning of the window. If the window began before the start of the
// daemon, these are zero, at the time of the start.
func (ht *healthTracker) base(sample healthSample, started time.Time) healthSample {
	switch {
	case sample.at.Sub(started) <= healthWindow:
		return healthSample{at: started}
	case len(ht.samples) == 0:
		return sample
	}
	return ht.samples[0]
}

// commonTroubles returns the troubles that are not of one listener.
func (ht *healthTracker) commonTroubles(s *Status, sample, base healthSample) (troubles []Trouble) {
	switch {
	case s.State == systemd.Running && !s.Ready:
		troubles = append(troubles, Trouble{Color: Red, Message: "greetd is not ready: it does not serve every listener of its configuration", key: "state"})
	case s.State == systemd.Starting, s.State == systemd.Draining, s.State == systemd.LameDuck:
		troubles = append(troubles, Trouble{Color: Amber, Message: "greetd is " + string(s.State) + ", not ready for new clients", key: "state"})
	}
	if last := s.Configuration.LastReload; last.Refused() {
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

// listenerTroubles returns the troubles of l. recent has its visits of the last minute.
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
			add("certificate", Amber, c.NotAfter.AddDate(0, 0, -amberDays), "the certificate of listener "+name+" expires in "+words.Left(c.NotAfter.Sub(now)))
		}
	}
	return troubles
}

// trouble returns the trouble of a listener with these counts in the last minute; kind is "" if there is
// none.
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

// update makes troubles the present ones. A trouble that was present before keeps its beginning, and so
// does a past trouble that comes again within healthWindow. Other troubles that were present become past
// ones.
func (ht *healthTracker) update(now time.Time, troubles []Trouble) {
	before := ht.present
	ht.present = nil
	for _, t := range troubles {
		same := func(other Trouble) bool { return other.key == t.key }
		i, past := slices.IndexFunc(before, same), slices.IndexFunc(ht.past, same)
		switch {
		case i >= 0:
			t.Since = before[i].Since
			before = slices.Delete(before, i, i+1)
		case past >= 0 && now.Sub(*ht.past[past].Until) <= healthWindow:
			t.Since = ht.past[past].Since
			ht.past = slices.Delete(ht.past, past, past+1)
		case t.Since.IsZero(), past >= 0 && t.Since.Before(*ht.past[past].Until): // the past one has the time before its end
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

// health summarizes the troubles. all has the visits of all listeners in the last minute.
func (ht *healthTracker) health(all healthCounts) Health {
	h := Health{Color: Green, Troubles: make([]Trouble, 0, len(ht.present)+len(ht.past))}
	for _, t := range ht.present {
		t.Until = nil // it was the time of the last event; a present trouble has no end
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
