// Package systemd_test holds the units of an instance against those without a name.
package systemd_test

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// TestInstanceUnitsFollowTheOthers: the same settings in the same order, apart from what makes an instance.
func TestInstanceUnitsFollowTheOthers(t *testing.T) {
	for kind, own := range map[string][]string{
		"service": {"Description", "ExecStart", "ExecReload", "RuntimeDirectory"},
		"socket":  {"Description", "ListenStream"},
	} {
		single, instance := settings(t, "greetd."+kind, own), settings(t, "greetd@."+kind, own)
		if !slices.Equal(single, instance) {
			t.Errorf("greetd.%s:\n%s\n\ngreetd@.%[1]s:\n%s", kind, strings.Join(single, "\n"), strings.Join(instance, "\n"))
		}
	}
}

// TestLogControlShowsTheBusAlone: the drop-in hides what the unit hides, apart from the bus.
func TestLogControlShowsTheBusAlone(t *testing.T) {
	hidden := func(unit string) (all []string) {
		for _, line := range settings(t, unit, nil) {
			if paths, found := strings.CutPrefix(line, "InaccessiblePaths="); found {
				all = append(all, strings.Fields(paths)...)
			}
		}
		return all
	}
	want := slices.DeleteFunc(hidden("greetd.service"), func(path string) bool { return path == "-/run/dbus" })
	if got := hidden("examples/log-control.conf"); !slices.Equal(got, want) {
		t.Errorf("log-control.conf hides\n%q, want\n%q", got, want)
	}
}

// settings returns the lines of a unit file without comments and blank lines, and the keys in own without their values.
func settings(t *testing.T, unit string, own []string) (lines []string) {
	t.Helper()
	text, err := os.ReadFile(unit)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if key, _, _ := strings.Cut(line, "="); slices.Contains(own, key) {
			line = key
		}
		if line != "" && line[0] != '#' {
			lines = append(lines, line)
		}
	}
	return lines
}
