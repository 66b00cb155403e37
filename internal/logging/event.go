package logging

import (
	"github.com/sirupsen/logrus"

	"greetd.example/pkg/journal"
	"greetd.example/pkg/service"
)

// An Event is a kind of entry. Each Event has a level and its own MESSAGE_ID, which the message catalog
// (deploy/systemd/greetd-tcp.catalog) explains. The zero value is Detail.
type Event int

// The events that the daemon logs with [Log.Event].
const (
	Detail             Event = iota // details for finding a fault; debug
	Started                         // the process runs and has read its configuration
	Ready                           // every listener is open, clients are greeted
	Reloading                       // a reload has begun
	Reloaded                        // the new configuration is in force
	ReloadFailed                    // the new configuration is not valid, the previous one stays in force
	ListenerOpened                  // a listener accepts connections
	ListenerClosed                  // a listener does not accept connections any more
	Stopping                        // the lame duck or the drain has begun, or the drain cuts the remaining visits
	Stopped                         // the last entry, with the totals
	ConfigWarning                   // the configuration is in force, but probably not as intended
	WatchdogRefused                 // no WATCHDOG=1 was sent; with the reason
	AdminTroubled                   // requests to the admin addresses can remain without an answer; with the reason
	TLSExpected                     // a client began a TLS handshake with a listener without TLS
	CertificateRenewed              // a listener serves another certificate
	CertificateRefused              // the files of a certificate have changed, and can't be served
	CertificateExpires              // a certificate expires soon, or has expired
)

// The events that the Log logs by itself.
const (
	LevelChanged Event = CertificateExpires + 1 + iota // SetLevel has changed the level; logged at every level
	VisitGreeted
	VisitRefused
	VisitHungUp
	VisitTimedOut
	VisitCut
	VisitFailed
	VisitStep        // a step of a visit; debug
	GreeterPanicked  // a visit that failed by a panic; with its stack
	VisitsSuppressed // the number of visits without an entry, by outcome
	AcceptTroubled   // a listener can't accept connections
	AcceptRecovered  // a listener accepts connections again
	EntriesDropped   // the number of entries that were dropped
	OutputTroubled   // the output could not be written for some time
	numEvents        = iota + int(LevelChanged)
)

// eventKinds has the MESSAGE_ID, the level and the priority of each Event.
//
// A visit that was refused, hung up or timed out has the priority notice, since the daemon works as it
// should. A visit that was cut is a warning: the client got no complete greeting because the daemon stopped,
// and a longer timeouts.drain helps.
var eventKinds = [numEvents]struct {
	id       string // MESSAGE_ID
	level    logrus.Level
	priority journal.Priority
}{
	Detail:             {"4024ae0e08084a78b60bf41124b43aac", logrus.DebugLevel, journal.PriDebug},
	Started:            {"72c396f7c984458d8d4cb0cb6084ce22", logrus.InfoLevel, journal.PriInfo},
	Ready:              {"4dd595cb5c504bc0a0e512e0ad8dc92d", logrus.InfoLevel, journal.PriInfo},
	Reloading:          {"a90aa2ae54cb46f29de91f5d57990d32", logrus.InfoLevel, journal.PriInfo},
	Reloaded:           {"d5a359bd146a4cf9a67e8c6b30d92424", logrus.InfoLevel, journal.PriNotice},
	ReloadFailed:       {"897882f8f4f94efb93e3de3f22730313", logrus.ErrorLevel, journal.PriErr},
	ListenerOpened:     {"afb5d13568124f53bfe1f4ab019fd99b", logrus.InfoLevel, journal.PriInfo},
	ListenerClosed:     {"41e7fb51f2d34d96bfa50cc59f840d22", logrus.InfoLevel, journal.PriInfo},
	Stopping:           {"b045fb716eb14601a19187fb0006cfea", logrus.InfoLevel, journal.PriInfo},
	Stopped:            {"7d3d4ecb303e43109e398e232aed7798", logrus.InfoLevel, journal.PriInfo},
	ConfigWarning:      {"7e16702a0574417aa476e3e9e9193a75", logrus.WarnLevel, journal.PriWarning},
	WatchdogRefused:    {"b1f9c554ac684083b7b5dae6d04e1f61", logrus.ErrorLevel, journal.PriErr},
	AdminTroubled:      {"f0a1c2ce34f5467d8ea16ab4ce9a1b0f", logrus.WarnLevel, journal.PriWarning},
	TLSExpected:        {"9192531f4e3a410eaf90b85021a186ee", logrus.InfoLevel, journal.PriNotice},
	CertificateRenewed: {"d43684e876b24dedb1dfdb9725964cf5", logrus.InfoLevel, journal.PriNotice},
	CertificateRefused: {"31401aa0635d47e19f3138a752c0a424", logrus.WarnLevel, journal.PriWarning},
	CertificateExpires: {"6afa9a44155141f7bf979e1f7319d0e2", logrus.WarnLevel, journal.PriWarning},
	LevelChanged:       {"015aa8d2f7c3496ba757c1aba40ec297", logrus.InfoLevel, journal.PriNotice},
	VisitGreeted:       {"ceebf95677764805af6f9d98b057aa1a", logrus.InfoLevel, journal.PriInfo},
	VisitRefused:       {"50b4d4335a814c62ad7d55f323a24cba", logrus.InfoLevel, journal.PriNotice},
	VisitHungUp:        {"0a91e3d249a74e3fa184bd4281605e35", logrus.InfoLevel, journal.PriNotice},
	VisitTimedOut:      {"5cf244ae4b974a4e9f0657be576c1606", logrus.InfoLevel, journal.PriNotice},
	VisitCut:           {"6043b73cfaa2436b9657cbe68f7ed44d", logrus.WarnLevel, journal.PriWarning},
	VisitFailed:        {"c62708b119ed4b2fb0719b004764793a", logrus.ErrorLevel, journal.PriErr},
	VisitStep:          {"527bf1e172ac4fd39cdad86a8a158b49", logrus.DebugLevel, journal.PriDebug},
	GreeterPanicked:    {"a37a3e92e0234836994fd30b619c9eb1", logrus.ErrorLevel, journal.PriErr},
	VisitsSuppressed:   {"e1c5d4415a21408d917c241fb5333436", logrus.InfoLevel, journal.PriInfo},
	AcceptTroubled:     {"d76c4a72c29242f7a218bf4048c40070", logrus.ErrorLevel, journal.PriErr},
	AcceptRecovered:    {"a8a35ad694a54caea6338207c6833046", logrus.InfoLevel, journal.PriNotice},
	EntriesDropped:     {"2392ff5e5b9c48d58b317164ef18029a", logrus.WarnLevel, journal.PriWarning},
	OutputTroubled:     {"c1175924b24f47cca79b8144d60d76fb", logrus.WarnLevel, journal.PriWarning},
}

// ID returns the MESSAGE_ID of e, 32 hexadecimal digits.
func (e Event) ID() string { return eventKinds[e].id }

// outcomes are all outcomes, in the order of their events.
var outcomes = service.Outcomes()

// outcomeEvent returns the Event of a visit with the outcome o.
func outcomeEvent(o service.Outcome) Event {
	for i, known := range outcomes {
		if o == known {
			return VisitGreeted + Event(i)
		}
	}
	return VisitFailed
}

// outcomeIndex returns the index in outcomes of the outcome of a visit that is logged as e. It returns false
// if e is not the Event of a visit.
func (e Event) outcomeIndex() (int, bool) {
	if e == GreeterPanicked {
		e = VisitFailed
	}
	return int(e - VisitGreeted), VisitGreeted <= e && e <= VisitFailed
}

// A Field is a named value of an entry. In JSON its name is the key. In the journal its name is GREETD_ and
// the key in upper case.
type Field struct {
	Key   string // lower case letters, digits and _, beginning with a letter, at most 57 bytes
	Value any    // as fmt prints it; a field whose value is nil is left out
}

// F returns the Field of key and value.
func F(key string, value any) Field { return Field{key, value} }
