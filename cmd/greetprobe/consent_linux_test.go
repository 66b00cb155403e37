package main

import (
	"strings"
	"testing"

	"greetd.example/internal/test/terminal"
)

// TestDrillAsksOnATerminal answers its questions, as somebody does who sees what is going to happen.
func TestDrillAsksOnATerminal(t *testing.T) {
	for _, test := range []struct {
		answers    string
		softReboot bool
		want       error
		questions  int
	}{
		{"y\n", false, nil, 1},
		{"YES\n", false, nil, 1},
		{"n\n", false, exitCode(exitCanceled), 1},
		{"\n", false, exitCode(exitCanceled), 1},
		{"yesterday\n", false, exitCode(exitCanceled), 1},
		{"y\nn\n", true, exitCode(exitCanceled), 2},
		{"n\ny\n", true, exitCode(exitCanceled), 1},
		{"y\ny\n", true, nil, 2},
	} {
		master, slave := terminal.Open(t)
		if _, err := master.WriteString(test.answers); err != nil {
			t.Fatal(err)
		}
		d := &drilling{drillFlags: &drillFlags{units: []string{"a.service"}, restart: 1, softReboot: test.softReboot}, streams: streams{in: slave, out: slave, err: slave}}
		if got := d.consent(); got != test.want { //nolint:errorlint // exit codes are values
			t.Errorf("%q: %v, want %v", test.answers, got, test.want)
		}
		shown := make([]byte, 4096)
		n, err := master.Read(shown)
		if err != nil {
			t.Fatal(err)
		}
		text := string(shown[:n])
		for n < len(shown) && strings.Count(text, "[y/N]") < test.questions {
			more, err := master.Read(shown[n:])
			if err != nil {
				t.Fatal(err)
			}
			n += more
			text = string(shown[:n])
		}
		if !strings.Contains(text, "a.service") || strings.Count(text, "[y/N]") != test.questions {
			t.Errorf("%q: %d questions, want %d, about a.service:\n%s", test.answers, strings.Count(text, "[y/N]"), test.questions, text)
		}
	}
}
