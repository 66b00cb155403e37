package logging

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"greetd.example/internal/test/journald"
	"greetd.example/pkg/journal"
)

// FuzzNative sends any bytes and gets them back.
func FuzzNative(f *testing.F) {
	f.Add("message", "key", "value")
	f.Add("two\nlines", "9_key with spaces", "\x00\xff=\n\nMESSAGE=forged")
	f.Add("", "", "\n")
	f.Fuzz(func(t *testing.T, message, key, value string) {
		e := newEntry(Ready, time.Now(), message)
		defer e.free()
		e.add(key, value)
		e.add("last_one", 42)
		got, err := journald.Parse(nativeForm{}.append(nil, e, 1<<30))
		if err != nil && !strings.Contains(err.Error(), "twice") {
			t.Fatal(err)
		}
		if got["MESSAGE"] != message || len(got) < 5 {
			t.Errorf("MESSAGE = %q, want %q", got["MESSAGE"], message)
		}
		field := string(journal.AppendField(nil, "GREETD_", key, nil))
		if name := strings.TrimSuffix(field, "=\n"); name != "GREETD_LAST_ONE" && got[name] != value {
			t.Errorf("%s = %q, want %q", name, got[name], value)
		}
	})
}

// FuzzLine writes any bytes to stderr: a line stays a line, nothing steers the
// terminal, JSON is JSON.
func FuzzLine(f *testing.F) {
	f.Add("message", "error", "value")
	f.Add("<0>forged\n<0>forged\x1b[31m", "time", "\xff\u2028")
	f.Fuzz(func(t *testing.T, message, key, value string) {
		e := newEntry(Ready, time.Now(), message)
		defer e.free()
		e.add(key, value)
		text := string(textForm{journal: true}.append(nil, e, 200))
		if key != "stack" && strings.Count(text, "\n") != 1 || !strings.HasPrefix(text, "<6>") {
			t.Errorf("%q", text)
		}
		for _, r := range strings.TrimSuffix(text, "\n") {
			if r != '\n' && r < ' ' || r == 0x7f || r == 0x2028 {
				t.Errorf("%q contains %U", text, r)
			}
		}
		line := jsonForm{}.append(nil, e, 1<<30)
		var object map[string]any
		if err := json.Unmarshal(line, &object); err != nil || !utf8.Valid(line) {
			t.Fatalf("%q: %v", line, err)
		}
		if want := strings.ToValidUTF8(message, "\ufffd"); utf8.ValidString(message) && object["msg"] != want {
			t.Errorf("msg = %q, want %q", object["msg"], want)
		}
	})
}

func TestPages(t *testing.T) {
	at := time.Date(2026, 11, 23, 14, 5, 6, 123456789, time.UTC)
	for _, test := range []struct {
		form textForm
		want string
	}{
		{textForm{}, "2026-11-23T14:05:06.123456Z warning odd\n"},
		{textForm{journal: true}, "<4>odd\n"},
		{textForm{terminal: true}, "14:05:06 warning odd\n"},
		{textForm{terminal: true, color: true}, "14:05:06 \x1b[33mwarning\x1b[0m odd\n"},
	} {
		e := newEntry(ConfigWarning, at, "odd")
		if got := string(test.form.append(nil, e, 100)); got != test.want {
			t.Errorf("%+v: %q, want %q", test.form, got, test.want)
		}
	}
}

func TestStackOnStderr(t *testing.T) {
	e := newEntry(GreeterPanicked, time.Now(), "failed")
	e.add("stack", "goroutine 1:\n\tmain()")
	want := "<3>failed\n<3>    goroutine 1:\n<3>        main()\n"
	if got := string(textForm{journal: true}.append(nil, e, 100)); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestPrintable(t *testing.T) {
	got := printable(errors.New("\"quoted\" \\ \x00 \x1b[0m \u202e \xff ü"))
	if want := `"quoted" \ \x00 \x1b[0m \u202e \xff ü`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got := printable(errors.New(strings.Repeat("x", 10_000))); len(got) != errorLimit {
		t.Errorf("%d bytes, want %d", len(got), errorLimit)
	}
}

func TestDurations(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 us", 870 * time.Microsecond: "870 us", 1234 * time.Microsecond: "1.2 ms",
		3200 * time.Millisecond: "3.2 s", 90 * time.Second: "1m30s",
	} {
		if got := duration(d); got != want {
			t.Errorf("%d: %q, want %q", d, got, want)
		}
	}
}

// TestEventsHaveLevels holds levels and priorities together: warnings and worse, and
// only they, have their own room in the queue.
func TestEventsHaveLevels(t *testing.T) {
	ids := map[string]Event{}
	for e := range numEvents {
		event := Event(e)
		if other, twice := ids[event.ID()]; twice || len(event.ID()) != 32 {
			t.Errorf("event %d has the id %q of event %d", event, event.ID(), other)
		}
		ids[event.ID()] = event
		entry := newEntry(event, time.Now(), "")
		if entry.urgent() != (entry.priority <= journal.PriWarning) {
			t.Errorf("event %d: level %s and priority %d", event, entry.level, entry.priority)
		}
	}
}
