package main

import (
	"slices"
	"strings"
	"testing"

	"greetd.example/internal/config"
)

// A reload of an instance must not reach the daemon of greetd.service.
func TestAsksTheDaemonOfItsOwnRuntimeDirectory(t *testing.T) {
	for _, test := range []struct{ instance, directory, want string }{
		{"", "", "unix:/run/greetd/admin.sock"},
		{"", "/run/greetd@lobby", "unix:/run/greetd@lobby/admin.sock"},
		{"lobby", "", "unix:/run/greetd@lobby/admin.sock"},
		{"lobby", "/run/greetd", "unix:/run/greetd@lobby/admin.sock"},
	} {
		t.Setenv("RUNTIME_DIRECTORY", test.directory)
		p := &program{source: config.Source{Path: "/dev/null"}, instance: instance(test.instance)}
		if got := p.newSearch(false).addresses; !slices.Equal(got, []string{test.want}) {
			t.Errorf("--instance %q with RUNTIME_DIRECTORY=%q asks %q, want %q", test.instance, test.directory, got, test.want)
		}
	}
}

// What changes something goes over a unix socket first.
func TestChangesGoOverUnixSocketsFirst(t *testing.T) {
	t.Setenv("GREETD_ADMIN_ADDRESS", "127.0.0.1:9180")
	p := &program{}
	if got, want := p.newSearch(true).addresses, []string{"unix:/run/greetd/admin.sock", "127.0.0.1:9180"}; !slices.Equal(got, want) {
		t.Errorf("a change asks %q, want %q", got, want)
	}
	if got, want := p.newSearch(false).addresses, []string{"127.0.0.1:9180", "unix:/run/greetd/admin.sock"}; !slices.Equal(got, want) {
		t.Errorf("status asks %q, want %q", got, want)
	}
}

// The names are those that systemctl makes of the same words.
func TestInstanceNamesAreEscapedAsSystemctlDoes(t *testing.T) {
	for name, want := range map[string]string{
		"lobby":       "lobby",
		"a:b-_.c@d":   "a:b-_.c@d",
		`x\x2dy`:      `x\x2dy`,
		"front door":  `front\x20door`,
		"é":           `\xc3\xa9`,
		"../../tmp/x": "..-..-tmp-x",
		"a\nb%i":      `a\x0ab\x25i`,
	} {
		var i instance
		if err := i.Set(name); err != nil || string(i) != want {
			t.Errorf("%q becomes %q, %v; want %q", name, i, err, want)
		}
	}
	for _, bad := range []string{"", strings.Repeat("x", 241)} {
		if new(instance).Set(bad) == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}
