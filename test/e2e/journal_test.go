package e2e

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A record says what the journal tells of the visits with one outcome.
type record struct {
	entries    int // of a visit each
	suppressed int // told of by summaries
	dropped    int // told of by entries about a queue that was full
}

func (r record) total() int { return r.entries + r.suppressed + r.dropped }

// visits returns what the journal tells of the visits that were greeted.
func (m *machine) visits() record {
	m.Helper()
	var r record
	r.entries = len(m.journal("_SYSTEMD_UNIT=greetd.service", "GREETD_OUTCOME=greeted"))
	for _, entry := range m.journal("_SYSTEMD_UNIT=greetd.service") {
		r.suppressed += m.number(entry, "GREETD_SUPPRESSED_GREETED")
		r.dropped += m.number(entry, "GREETD_DROPPED_GREETED")
	}
	return r
}

// number returns the number in a field of an entry, and 0 if the entry has no such field.
func (m *machine) number(entry map[string]any, field string) int {
	m.Helper()
	value, ok := entry[field].(string)
	if !ok {
		return 0
	}
	n, err := strconv.Atoi(value)
	if err != nil {
		m.Fatalf("%s: %v", field, err)
	}
	return n
}

// inJournal waits until the journal accounts for n greeted visits.
func (m *machine) inJournal(n int) record {
	m.Helper()
	var r record
	m.eventually(fmt.Sprintf("the journal accounts for %d visits", n), func() bool {
		r = m.visits()
		if r.total() > n {
			m.Fatalf("the journal tells of more than the %d visits: %+v", n, r)
		}
		return r.total() == n
	})
	m.Logf("in the journal: %+v", r)
	return r
}

func TestJournalTellsEachVisitWithAllItsFields(t *testing.T) {
	onEachSystemd(t, func(m *machine) {
		m.run("systemctl", "start", "greetd")
		const n = 50
		var ports []string
		for range n {
			c, err := m.dial("tcp", overIPv4)
			if err != nil {
				m.Fatal(err)
			}
			_, port, _ := net.SplitHostPort(c.LocalAddr().String())
			ports = append(ports, port)
			if _, err := c.Read(make([]byte, 100)); err != nil {
				m.Fatal(err)
			}
			_ = c.Close()
		}
		m.inJournal(n)

		var seen, visits []string
		for _, entry := range m.journal("GREETD_OUTCOME=greeted") {
			for field, want := range map[string]string{
				"PRIORITY":           "6",
				"SYSLOG_IDENTIFIER":  "greetd",
				"_SYSTEMD_UNIT":      "greetd.service",
				"_TRANSPORT":         "journal",
				"MESSAGE_ID":         "ceebf95677764805af6f9d98b057aa1a",
				"GREETD_LISTENER":    "greet",
				"GREETD_REMOTE_ADDR": "127.0.0.1",
				"GREETD_BYTES":       strconv.Itoa(len(hello)),
			} {
				if entry[field] != want {
					m.Errorf("%s is %v, want %s", field, entry[field], want)
				}
			}
			if message, _ := entry["MESSAGE"].(string); !strings.Contains(message, "127.0.0.1") {
				m.Errorf("MESSAGE is %q", message)
			}
			if m.number(entry, "GREETD_DURATION_USEC") <= 0 {
				m.Errorf("GREETD_DURATION_USEC is %v", entry["GREETD_DURATION_USEC"])
			}
			seen = append(seen, fmt.Sprint(entry["GREETD_REMOTE_PORT"]))
			visits = append(visits, fmt.Sprint(entry["GREETD_VISIT"]))
		}
		slices.Sort(seen)
		slices.Sort(ports)
		if !slices.Equal(seen, ports) {
			m.Errorf("entries came from the ports %q, clients from %q", seen, ports)
		}
		slices.Sort(visits)
		if len(slices.Compact(visits)) != n {
			m.Errorf("GREETD_VISIT is not unique: %q", visits)
		}
		if got := len(m.journal("GREETD_REMOTE_PORT=" + ports[0])); got != 1 {
			m.Errorf("a query for one client's port found %d entries", got)
		}
	})
}

// Who leaves early and who is too slow are worth a notice.
func TestJournalTellsWhoWasNotGreeted(t *testing.T) {
	onEachSystemd(t, func(m *machine) {
		m.littleRoom()
		m.configure(greeting(strings.Repeat("all work and no play makes jack a dull boy\n", 1024)), "timeouts: {write: 2s}")
		m.run("systemctl", "start", "greetd")
		leaves, err := m.dial("tcp", overIPv4)
		if err != nil {
			m.Fatal(err)
		}
		_ = leaves.(*net.TCPConn).SetLinger(0)
		_ = leaves.Close()
		stays, err := m.dial("tcp", overIPv4)
		if err != nil {
			m.Fatal(err)
		}
		defer stays.Close()

		for outcome, id := range map[string]string{
			"hung_up":   "0a91e3d249a74e3fa184bd4281605e35",
			"timed_out": "5cf244ae4b974a4e9f0657be576c1606",
		} {
			var entries []map[string]any
			m.eventually("somebody "+outcome, func() bool {
				entries = m.journal("GREETD_OUTCOME=" + outcome)
				return len(entries) > 0
			})
			if len(entries) != 1 || entries[0]["PRIORITY"] != "5" || entries[0]["MESSAGE_ID"] != id || entries[0]["GREETD_ERROR"] == nil {
				m.Errorf("%s: %v", outcome, entries)
			}
		}
	})
}

func TestJournalExplainsItsEntries(t *testing.T) {
	onEachSystemd(t, func(m *machine) {
		m.run("journalctl", "--update-catalog") // with DESTDIR, make install leaves that to the package
		m.run("systemctl", "start", "greetd")
		m.greeted("tcp", overIPv4, hello)
		m.run("systemctl", "reload", "greetd")
		m.inJournal(1)
		m.run("systemctl", "stop", "greetd")

		for _, entry := range m.journal("_SYSTEMD_UNIT=greetd.service", "_TRANSPORT=journal") {
			id, _ := entry["MESSAGE_ID"].(string)
			if out, code := m.try("journalctl", "--dump-catalog", id); code != 0 || !strings.Contains(out, "Defined-By: greetd") {
				m.Errorf("no explanation for %q (%v):\n%s", entry["MESSAGE"], id, out)
			}
		}
		out := m.run("journalctl", "--no-pager", "-x", "GREETD_OUTCOME=greeted")
		for _, want := range []string{"Subject: A client was greeted", fmt.Sprintf("%d bytes", len(hello))} {
			if !strings.Contains(out, want) {
				m.Errorf("journalctl -x does not say %q:\n%s", want, out)
			}
		}
	})
}

func TestJournalLosesNoEntryAtAnOrdinaryRate(t *testing.T) {
	onEachSystemdInTurn(t, func(m *machine) {
		m.run("systemctl", "start", "greetd")
		n := m.drill(append(slices.Clone(everybody), "--rate", "200", "--do", "sleep 5", "--times", "1")...).All.Asked
		if r := m.inJournal(n); r.entries != n {
			m.Errorf("%d visits, but %+v", n, r)
		}
	})
}

// Beyond log.rate, entries and summaries together tell of every visit.
func TestJournalAccountsForEveryVisitUnderLoad(t *testing.T) {
	onEachSystemdInTurn(t, func(m *machine) {
		m.run("systemctl", "start", "greetd")
		visits := m.drill(append(slices.Clone(everybody), "--do", "sleep 5", "--times", "1")...).All.Clients["served"]
		if r := m.inJournal(visits); r.suppressed == 0 {
			m.Errorf("%d visits, and no summary: %+v", visits, r)
		}
	})
}

func TestFrozenJournalHarmsNoGreeting(t *testing.T) {
	const frozen, freeze = 20 * time.Second, `systemctl kill --kill-whom=main --signal=SIGSTOP systemd-journald
sleep 20
systemctl kill --kill-whom=main --signal=SIGCONT systemd-journald`
	onEachSystemdInTurn(t, func(m *machine) {
		m.run("systemctl", "start", "greetd")
		r := m.drill(append(slices.Clone(everybody), "--do", freeze, "--times", "1")...)
		r.lostNobody(m.T, 1)
		if slowest := time.Duration(r.All.WorstUS) * time.Microsecond; slowest > frozen/2 {
			m.Errorf("somebody waited %v for the journal", slowest)
		}
		m.inJournal(r.All.Clients["served"])
		told := 0
		for _, entry := range m.journal("MESSAGE_ID=2392ff5e5b9c48d58b317164ef18029a") {
			if m.number(entry, "GREETD_DROPPED") > 0 {
				told++
			}
		}
		if told != 1 {
			m.Errorf("%d entries tell how many were dropped, want 1", told)
		}
	})
}

func TestRestartedJournalHarmsNoGreeting(t *testing.T) {
	onEachSystemdInTurn(t, func(m *machine) {
		m.dropIn("systemd-journald.service", "[Unit]", "StartLimitIntervalSec=0")
		m.run("systemctl", "start", "greetd")
		const both = "systemctl restart systemd-journald; sleep 1; systemctl kill --signal=SIGKILL systemd-journald"
		m.drill(append(slices.Clone(everybody), "--do", both, "--times", "3", "--each", "1s")...).lostNobody(m.T, 3)
		// The log has found the new journald.
		before := len(m.journal("GREETD_OUTCOME=greeted"))
		m.eventually("new visits are in the journal", func() bool {
			m.greeted("tcp", overIPv4, hello)
			return len(m.journal("GREETD_OUTCOME=greeted")) > before
		})
	})
}

// journald suppresses what exceeds its own limit: no business of the clients'.
func TestRateLimitOfTheJournalHarmsNoGreeting(t *testing.T) {
	onEachSystemdInTurn(t, func(m *machine) {
		m.dropIn("greetd.service", "[Service]", "LogRateLimitIntervalSec=4s", "LogRateLimitBurst=100")
		m.configure("log: {rate: 0}")
		m.run("systemctl", "start", "greetd")
		m.drill(append(slices.Clone(everybody), "--do", "sleep 5", "--times", "1")...).lostNobody(m.T, 1)
		m.eventually("journald says that it suppressed messages", func() bool {
			m.greeted("tcp", overIPv4, hello)
			return strings.Contains(m.run("journalctl", "--no-pager", "-u", "systemd-journald", "-o", "cat"), "from greetd.service")
		})
	})
}
