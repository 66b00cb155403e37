package logging

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"

	"greetd.example/internal/test/debian"
	"greetd.example/internal/test/journald"
	"greetd.example/pkg/service"
)

const catalogFile = "../../deploy/systemd/greetd-tcp.catalog"

// readCatalog returns the explanations by identifier.
func readCatalog(t *testing.T) map[string]string {
	t.Helper()
	data, err := os.ReadFile(catalogFile)
	if err != nil {
		t.Fatal(err)
	}
	catalog := map[string]string{}
	for i, part := range strings.Split(string(data), "\n-- ") {
		if i == 0 {
			continue // the head of the file
		}
		id, text, _ := strings.Cut(part, "\n")
		if _, twice := catalog[id]; twice {
			t.Errorf("%s is there twice", id)
		}
		catalog[id] = text
	}
	return catalog
}

// TestCatalogExplainsEachEvent holds the catalog against the events.
func TestCatalogExplainsEachEvent(t *testing.T) {
	catalog := readCatalog(t)
	for e := range numEvents {
		id := Event(e).ID()
		head, body, _ := strings.Cut(catalog[id], "\n\n")
		for _, want := range []string{"Subject: ", "Defined-By: greetd\n", "Documentation: man:greetd(8)"} {
			if !strings.Contains(head, want) {
				t.Errorf("event %d, %s: no %q in the catalog", e, id, want)
			}
		}
		if strings.TrimSpace(body) == "" {
			t.Errorf("event %d, %s: no text in the catalog", e, id)
		}
		delete(catalog, id)
	}
	for id := range catalog {
		t.Errorf("%s is no event", id)
	}
}

var placeholder = regexp.MustCompile(`@([A-Z0-9_]+)@`)

// TestCatalogNamesRealFields makes each event that the Log logs by itself, and
// looks for the fields which its explanation names.
func TestCatalogNamesRealFields(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := defaults
		o.Rate, o.Burst = 1, 7
		l, c := inMemory(t, o)
		l.level.Store(uint32(logrus.DebugLevel))
		l.limit.set(0, 0)
		l.Trace(service.Peer{})(service.Step{Name: service.StepAccepted})
		l.limit.set(o.Rate, o.Burst)
		for _, outcome := range service.Outcomes() {
			l.Closed(visit(1, outcome))
		}
		l.Closed(service.Visit{Outcome: service.Failed, Err: &service.PanicError{Stack: []byte("main()")}})
		for range 7 { // the last is suppressed
			l.Closed(visit(8, service.Greeted))
		}
		l.AcceptFailed("greet", errors.New("too many open files"), time.Second)
		l.AcceptFailed("greet", nil, 0)
		l.SetLevel("info")
		l.done(&entry{}, false)
		l.writer.Wake()
		synctest.Wait()
		l.recovered("journald", time.Second, errors.New("connection refused"))
		l.writer.Wake()
		time.Sleep(time.Second)

		entries := map[string]journald.Fields{}
		for _, e := range c.take() {
			entries[e["MESSAGE_ID"]] = e
		}
		for id, text := range readCatalog(t) {
			for _, name := range placeholder.FindAllStringSubmatch(text, -1) {
				if _, ok := entries[id][name[1]]; !ok {
					t.Errorf("%s: %s is not in %v", id, name[0], entries[id])
				}
			}
		}
		if want := numEvents - int(LevelChanged); len(entries) != want {
			t.Errorf("%d kinds of entries, want %d", len(entries), want)
		}
	})
}

// TestCatalogCompiles lets journalctl read it, where there is one.
func TestCatalogCompiles(t *testing.T) {
	journalctl, err := exec.LookPath("journalctl")
	if err != nil {
		debian.Lacking(t, "journalctl")
	}
	data, err := os.ReadFile(catalogFile)
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	for _, dir := range []string{"usr/lib/systemd/catalog", "var/lib/systemd/catalog"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "usr/lib/systemd/catalog/greetd-tcp.catalog"), data, 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(journalctl, "--update-catalog", "--root", root).CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("journalctl --update-catalog: %v\n%s", err, out)
	}
	out, err := exec.Command(journalctl, "--root", root, "--dump-catalog").CombinedOutput()
	if err != nil {
		t.Fatalf("journalctl --dump-catalog: %v\n%s", err, out)
	}
	for id, text := range readCatalog(t) {
		_, body, _ := strings.Cut(text, "\n\n")
		if !strings.Contains(string(out), strings.TrimSpace(body)) {
			t.Errorf("%s did not arrive whole", id)
		}
	}
}
