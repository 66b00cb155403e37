package admin_test

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"greetd.example/internal/admin"
	"greetd.example/pkg/systemd"
)

// inUTC lets the test's reader live in UTC.
func inUTC(t *testing.T) {
	t.Helper()
	local := time.Local
	time.Local = time.UTC
	t.Cleanup(func() { time.Local = local })
}

func TestStatusForPeople(t *testing.T) {
	inUTC(t)
	calm, trouble := sample(), sample()
	calm.Health = admin.Health{Color: admin.Green, Headline: "clients are greeted: 25 of 25 in the last minute"}
	trouble.Health = admin.Health{
		Color: admin.Red, Headline: "listener local cannot accept clients: too many open files (and 1 more)",
		Troubles: []admin.Trouble{
			{Color: admin.Red, Message: "listener local cannot accept clients: too many open files", Since: calm.Started.Add(time.Hour)},
			{Color: admin.Amber, Message: "listener greet is full: new clients wait", Since: calm.Started, Until: new(calm.Started.Add(time.Minute))},
		},
	}
	calm.Configuration.LastReload = nil
	calm.Configuration.Path, calm.Configuration.Generation = "", 1
	calm.Commit, calm.Log.Dropped, calm.Log.Suppressed = "", 0, 0
	calm.Listeners = calm.Listeners[:1]
	calm.Listeners[0].State = admin.Listening
	for name, status := range map[string]admin.Status{
		"calm":    calm,
		"trouble": trouble,
		"starting": {
			Version: "v1.4.0", PID: 4711, State: systemd.Starting, Started: sample().Started,
			Log: admin.Log{Output: "stderr", Level: "info"},
		},
	} {
		var got bytes.Buffer
		if err := status.WriteText(&got); err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile("testdata/status-" + name + ".txt")
		if err != nil || got.String() != string(want) {
			t.Errorf("%s (%v):\n%s\nwant:\n%s", name, err, got.String(), want)
		}
		for line := range strings.Lines(got.String()) {
			if n := utf8.RuneCountInString(strings.TrimSpace(line)); n > 80 {
				t.Errorf("%s: a line has %d columns: %s", name, n, line)
			}
			if trimmed := strings.TrimRight(line, " \n"); trimmed+"\n" != line {
				t.Errorf("%s: white space at the end of %q", name, line)
			}
		}
	}
}

// Several sockets of one name have one row of visits.
func TestStatusHasTheVisitsOfANameOnce(t *testing.T) {
	status := sample()
	status.Listeners = []admin.Listener{status.Listeners[0], {Name: status.Listeners[0].Name, Address: "[::1]:10000", Outcomes: admin.Outcomes{}}}
	var got bytes.Buffer
	if err := status.WriteText(&got); err != nil {
		t.Fatal(err)
	}
	_, visits, _ := strings.Cut(got.String(), "VISITS")
	visits, _, _ = strings.Cut(visits, "\n\n")
	if n := strings.Count(visits, "\ngreet "); n != 1 {
		t.Errorf("%d rows, want 1:\n%s", n, visits)
	}
}

func TestStatusCannotSteerTheTerminal(t *testing.T) {
	status := sample()
	status.Listeners[0].Name = "\x1b[2Jgreet"
	status.Configuration.LastReload.Error = "\x1b]0;owned\a"
	var got bytes.Buffer
	if err := status.WriteText(&got); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(got.String(), "\x1b\a") {
		t.Errorf("an escape sequence came through: %q", got.String())
	}
}

func TestStatusTellsAWriteError(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	w.Close()
	if err := sample().WriteText(w); !errors.Is(err, os.ErrClosed) {
		t.Errorf("got %v, want the writer's error", err)
	}
}
