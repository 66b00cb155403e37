package logging

import (
	"regexp"
	"strings"
	"testing"

	"greetd.example/internal/test/manpage"
)

// priorityWords are the names of journald's priorities in the manual.
var priorityWords = []string{"emergency", "alert", "critical", "error", "warning", "notice", "info", "debug"}

// TestManualKnowsEachEvent holds greetd(8) against the events and their priorities.
func TestManualKnowsEachEvent(t *testing.T) {
	var events []string
	for e := range numEvents {
		events = append(events, Event(e).ID()+" "+priorityWords[eventKinds[e].priority])
	}
	text := strings.Join(manpage.Read(t, "greetd.8"), "\n")
	var page []string
	for _, item := range regexp.MustCompile(`(?m)^\.It Li ([0-9a-f]{32}) Pq (\w+)$`).FindAllStringSubmatch(text, -1) {
		page = append(page, item[1]+" "+item[2])
	}
	manpage.Same(t, "events", page, events)
}
