package config

import (
	"strings"
	"testing"
)

// What operators write by mistake gets the remedy that is right there.
func TestLoadSaysTheRightRemedy(t *testing.T) {
	for _, test := range []struct{ file, want string }{
		{"timeouts: {write: infinity}", `timeouts.write: must be a duration with its unit, such as 5s, 500ms or 1m30s, not the text "infinity"`},
		{"timeouts: {write: .inf}", `timeouts.write: must be a duration`},
		{"timeouts: {write: 1e3}", `timeouts.write: `},
		{"timeouts: {write: 5}", `"5" has no unit: write 5s`},
		{"listeners: [{name: a, address: off}]", `is not an address: write one`},
		{"listeners: [{name: a, address: tcp://0.0.0.0:10000}]", `must not have "tcp://": write "0.0.0.0:10000"`},
		{"listeners: [{name: a, address: 'vsock:2:1234'}]", `is a vsock address, which only systemd can bind`},
		{"listeners: [{name: a, address: 'VSOCK:2:1234'}]", `is a vsock address, which only systemd can bind`},
		{"listeners: [{name: a, address: 'vsock-stream:2:1234'}]", `is a vsock address, which only systemd can bind`},
		{"listeners: [{name: a, address: 'tcp://[::]:10000/'}]", `must not have "tcp://": write "[::]:10000"`},
		{"listeners: [{name: a, address: 'tcp:0.0.0.0:10000'}]", `must not have "tcp:": write "0.0.0.0:10000"`},
		{"listeners: [{name: a, address: 'TCP6:[::1]:10000'}]", `must not have "TCP6:": write "[::1]:10000"`},
		{"listeners: [{name: a, address: infinity}]", `is not an address`},
		{"listeners: [{name: a, address: 'vsock:1234'}]", `is a vsock address, which only systemd can bind`},
		{"listeners: [{name: a, address: '[fe80::1]:10011'}]", `is a link-local address without its interface: write it behind a percent sign, such as [fe80::1%eth0]`},
		{"listeners: [{name: a, address: '[::1%lo]:10011'}]", `must not have the zone "lo": only a link-local address has one`},
		{"greeting: {{.IP}} hi", `:1: greeting: begins with {{, which is a section in YAML: put the text in quotes, as in greeting: "{{.IP}} hi\n"`},
		{"greeting: {{.IP}}\n", `:1: greeting: must be a text, not a section: a text that begins with { must be in quotes`},
		{"log: {level: info}\ngreeting: {{.IP}} hi\ntimeouts: {linger: 1s}\n", `:2: greeting: begins with {{`},
		{"greeting: {{printf \"%s\" .IP}} hi\n# end\n", `:1: greeting: begins with {{`},
		{"", "has no settings"},
		{"---\n", "has no settings"},
	} {
		_, err := load(Source{Path: write(t, test.file)}, "")
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: %v; want %q", test.file, err, test.want)
		}
	}
	for _, good := range []string{"# nothing but a comment\n", "\n# a\n\n#b", "listeners: [{name: a, address: '[fe80::1%lo]:10011'}]", "listeners: [{name: a, address: '[fe80::1%1]:10011'}]"} {
		if _, err := load(Source{Path: write(t, good)}, ""); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
}
