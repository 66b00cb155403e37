package main

import (
	"slices"
	"testing"

	"greetd.example/internal/config"
)

// A reload of an instance must not reach the daemon of greetd.service.
func TestAsksTheDaemonOfItsOwnRuntimeDirectory(t *testing.T) {
	p := &program{source: config.Source{Path: "/dev/null"}}
	for directory, want := range map[string]string{
		"":                  "unix:/run/greetd/admin.sock",
		"/run/greetd@lobby": "unix:/run/greetd@lobby/admin.sock",
	} {
		t.Setenv("RUNTIME_DIRECTORY", directory)
		if got, _ := p.adminAddresses(); !slices.Equal(got, []string{want}) {
			t.Errorf("with RUNTIME_DIRECTORY=%q it asks %q, want %q", directory, got, want)
		}
	}
}
