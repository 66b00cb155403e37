package greetprobe

import (
	"strings"
	"testing"
)

// TestHelp holds the help against a screen, and against the flags.
func TestHelp(t *testing.T) {
	lines := strings.Split(strings.TrimSuffix(help, "\n"), "\n")
	if len(lines) > 23 {
		t.Errorf("%d lines, and a screen has 24 with the prompt", len(lines))
	}
	for _, line := range lines {
		if len(line) > 79 {
			t.Errorf("%d columns: %s", len(line), line)
		}
	}
	if !strings.HasPrefix(help, "  greetprobe ") {
		t.Error("it does not begin with an example")
	}
}
