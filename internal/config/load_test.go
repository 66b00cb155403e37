package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

// write makes a file of that content and returns its path.
func write(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "greetd.yaml")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// complaints are the lines of the error that Load returns for content, without the
// name of the file.
func complaints(t *testing.T, content string, environ, listen []string) []string {
	t.Helper()
	path := write(t, content)
	setenv(t, environ...)
	_, err := Load(Source{Path: path, Listen: listenFlag(listen...)})
	if err == nil {
		return nil
	}
	return strings.Split(strings.ReplaceAll(err.Error(), path, "FILE"), "\n")
}

func setenv(t *testing.T, environ ...string) {
	t.Helper()
	for _, variable := range environ {
		name, value, _ := strings.Cut(variable, "=")
		t.Setenv(name, value)
	}
}

// listenFlag is --listen as it was given so many times, or not at all.
func listenFlag(addresses ...string) *pflag.Flag {
	flags := pflag.NewFlagSet("greetd", pflag.ContinueOnError)
	flags.StringArray("listen", nil, "")
	for _, address := range addresses {
		_ = flags.Set("listen", address)
	}
	return flags.Lookup("listen")
}

func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s:\n got %+v\nwant %+v", what, got, want)
	}
}

func TestLoadReadsEveryKey(t *testing.T) {
	l, err := Load(Source{Path: write(t, `
listeners:
  - {name: a, address: "127.0.0.1:smtp", reuse_port: true, connections: 50, proxy_trusted: [10.0.0.0/8, 2001:db8::1, unix], tls: {certificate: c.pem, key: k.pem}}
  - {name: b, address: "unix:/run/greetd/b", proxy_trusted: [unix], mode: 0660, group: adm}
  - {name: c, address: "unix:@c", mode: "0666", group: ""}
greeting: |
  Hello
  {{.IP}}
timeouts: {write: 1m30s, handshake: 500ms, linger: 0s, drain: 24h}
limits: {connections: 0, per_source: {connections: 5, rate: 0.5, burst: 7, ipv4_prefix: 24, ipv6_prefix: 56}}
access: {allow: ["::ffff:192.0.2.0/120"], deny: ["::ffff:192.0.2.7"]}
log: {output: stderr, level: debug, format: json, visits: problems, rate: 0, burst: 0}
admin: {address: "[::1]:9000"}
`)})
	if err != nil {
		t.Fatal(err)
	}
	prefix := netip.MustParsePrefix
	equal(t, "configuration", l.Config, Config{
		Listeners: []Listener{
			{
				Name: "a", Address: "127.0.0.1:smtp", ReusePort: true, Connections: 50,
				ProxyTrusted: []netip.Prefix{prefix("10.0.0.0/8"), prefix("2001:db8::1/128"), {}},
				TLS:          TLS{Certificate: "c.pem", Key: "k.pem"},
				Mode:         0o666,
			},
			{Name: "b", Address: "unix:/run/greetd/b", ProxyTrusted: []netip.Prefix{{}}, Mode: 0o660, Group: "adm"},
			{Name: "c", Address: "unix:@c", Mode: 0o666},
		},
		Greeting: "Hello\n{{.IP}}\n",
		Timeouts: Timeouts{Write: 90 * time.Second, Handshake: 500 * time.Millisecond, Drain: 24 * time.Hour},
		Limits:   Limits{PerSource: PerSource{Connections: 5, Rate: 0.5, Burst: 7, IPv4Prefix: 24, IPv6Prefix: 56}},
		Access:   Access{Allow: []netip.Prefix{prefix("192.0.2.0/24")}, Deny: []netip.Prefix{prefix("192.0.2.7/32")}},
		Log:      Log{Output: "stderr", Level: "debug", Format: "json", Visits: "problems"},
		Admin:    Admin{Address: "[::1]:9000"},
	})
}

func TestLoadLayers(t *testing.T) {
	path := write(t, "greeting: file\nlog: {level: debug, rate: 1}\naccess: {allow: [10.0.0.0/8], deny: [10.0.0.0/9]}\nlisteners: [{name: x, address: ':1', proxy_trusted: ['::1']}]\n")
	setenv(t,
		"PATH=/bin", "GREETD_CONFIG=/nowhere", "GREETD_LOG_RATE=2", "GREETD_ACCESS_ALLOW= 192.0.2.1 ,::/0",
		"GREETD_ACCESS_DENY=", "GREETD_LISTEN=:5,:6", "GREETD_LIMITS_PER_SOURCE_RATE=1.5", "GREETD_GREETING=a=b\n")
	l, err := Load(Source{Path: path, Listen: listenFlag("127.0.0.1:7", ":8", "unix:/s")})
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Listeners = []Listener{
		{Name: "greet", Address: "127.0.0.1:7", Mode: DefaultMode}, {Name: "greet-2", Address: ":8", Mode: DefaultMode}, {Name: "greet-3", Address: "unix:/s", Mode: DefaultMode},
	}
	want.Greeting = "a=b\n"
	want.Log.Level, want.Log.Rate = "debug", 2
	want.Limits.PerSource.Rate = 1.5
	want.Access.Allow = []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("::/0")}
	equal(t, "configuration", l.Config, want)
	equal(t, "path", l.Path, path)
	for key, want := range map[string]string{
		"greeting":                   "environment GREETD_GREETING",
		"log.level":                  path + ":2",
		"log.rate":                   "environment GREETD_LOG_RATE",
		"log.burst":                  "default",
		"access.allow":               "environment GREETD_ACCESS_ALLOW",
		"access.allow[1]":            "environment GREETD_ACCESS_ALLOW",
		"access.deny":                "environment GREETD_ACCESS_DENY",
		"listeners":                  "flag --listen",
		"listeners[1].address":       "flag --listen",
		"listeners[0].proxy_trusted": "default",
		"timeouts.write":             "default",
		"no.such.key":                "default",
	} {
		equal(t, "origin of "+key, l.Origin(key), want)
	}
}

func TestLoadFindsTheFile(t *testing.T) {
	first, second := write(t, "greeting: first"), write(t, "greeting: second")
	nowhere := filepath.Join(t.TempDir(), "nowhere")
	for _, c := range []struct {
		name           string
		source         Source
		variable       string
		defaultPath    string
		path, greeting string
	}{
		{"flag", Source{Path: first}, second, second, first, "first"},
		{"environment", Source{}, second, first, second, "second"},
		{"default path", Source{}, "", first, first, "first"},
		{"none", Source{}, "", nowhere, "", Default().Greeting},
	} {
		t.Setenv("GREETD_CONFIG", c.variable)
		l, err := load(c.source, c.defaultPath)
		if err != nil || l.Path != c.path || l.Greeting != c.greeting {
			t.Errorf("%s: path %q, greeting %q, error %v; want %q, %q", c.name, l.Path, l.Greeting, err, c.path, c.greeting)
		}
	}
}

func TestLoadWithoutAnythingIsDefault(t *testing.T) {
	l, err := load(Source{}, filepath.Join(t.TempDir(), "nowhere"))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "configuration", l.Config, Default())
}

func TestLoadRefusesFiles(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	loop := filepath.Join(dir, "loop")
	if err := os.Symlink("loop", loop); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		dir + "/nowhere":                      "does not exist: create it, or name another with --config or $GREETD_CONFIG",
		dir:                                   "is a directory: name the file in it",
		fifo:                                  "is a FIFO: must be a regular file",
		"/dev/zero":                           "is a device: must be a regular file",
		write(t, ""):                          "has no settings",
		write(t, "---\n"):                     "has no settings",
		write(t, "~"):                         "has no settings",
		write(t, strings.Repeat("#", 10<<20)): "has 10485760 bytes, which is too long for a configuration: at most 4194304 are read",
		loop:                                  "can't be read: too many levels of symbolic links",
		write(t, strings.Repeat("a,\n", 125_001)): "has 250002 lines and commas, which is too long for a configuration: at most 250000 are read",
	} {
		_, err := Load(Source{Path: path})
		if all := problemsIn(err); len(all) != 1 || !strings.HasPrefix(err.Error(), path+": "+want) {
			t.Errorf("%s: %v; want %q", path, err, want)
		}
	}
}

func TestLoadRefusesUnreadable(t *testing.T) {
	err := unreadable("x", &fs.PathError{Op: "open", Path: "x", Err: syscall.EACCES})
	equal(t, "error", err.Error(), "can't be read: permission denied: make it readable for the user that greetd runs as")
}

func TestLoadRefusesWhatIsNoYAML(t *testing.T) {
	for _, c := range []struct{ name, content, want string }{
		{"not UTF-8", "greeting: a\n# caf\xe9\n", "FILE:2: is not UTF-8, because of byte 0xe9: save it as UTF-8"},
		{"half a rune", "greeting: a\nadmin:\n  address: \"\xc3", "FILE:3: is not UTF-8, because of byte 0xc3: save it as UTF-8"},
		{"UTF-16", "\xff\xfeg\x00", "FILE:1: is not UTF-8, because of byte 0xff: save it as UTF-8"},
		{"NUL", "greeting: a\n\x00\x00", "FILE:2: has a NUL byte, which no text has: was it written to the end?"},
		{"escape", "greeting: \x1b[1m", "FILE:1: has the control character U+001B: write it as an escape in double quotes"},
		{"two documents", "greeting: a\n---\ngreeting: b\n", "FILE:2: begins a second document here: put all into the first, and remove the line ---"},
		{"garbage after the end", "greeting: a\n...\n]\n", "FILE:3: is not YAML: did not find expected <document start>: correct the text at this line or before it"},
		{"a list", "- a\n", `FILE:1: must be made of keys and values, such as greeting: "Hello!", not a list`},
		{"a text", "hello", `FILE:1: must be made of keys and values, such as greeting: "Hello!", not the text "hello"`},
		{"half a quote", "greeting: a\nadmin:\n  address: \"unix", "FILE:3: is not YAML: found unexpected end of stream: correct the text at this line or before it"},
		{"half a list", "access:\n  allow: [10.0.0.0/8,", "FILE:2: is not YAML: did not find expected node content: correct the text at this line or before it"},
		{"half a line", "greeting: a\ntime", "FILE:2: is not YAML: could not find expected ':': correct the text at this line or before it"},
		{"half a section", "greeting: a\ntimeouts:", "FILE:2: timeouts: has no value: give it one, or remove the key to get the default"},
		{"tab", "log:\n\tlevel: info", "FILE:2: is not YAML: found character that cannot start any token: correct the text at this line or before it"},
		{"open bracket", "access: [", "FILE:1: is not YAML: did not find expected node content: correct the text at this line or before it"},
		{"open brace", "greeting: a\naccess: {allow: []\nlog: {}\n", "FILE:2: is not YAML: did not find expected ',' or '}': correct the text at this line or before it"},
		{"closed bracket", "greeting: a\n\n]\n", "FILE:3: is not YAML: did not find expected key: correct the text at this line or before it"},
		{"list among keys", "greeting: a\n- b\n", "FILE:2: is not YAML: did not find expected key: correct the text at this line or before it"},
		{"only a quote", "'", "FILE:1: is not YAML: found unexpected end of stream: correct the text at this line or before it"},
		{"unknown anchor", "greeting: a\naccess: *x", "FILE:2: is not YAML: unknown anchor 'x' referenced: correct the text at this line or before it"},
	} {
		equal(t, c.name, complaints(t, c.content, nil, nil), []string{c.want})
	}
}

func TestLoadRefusesValues(t *testing.T) {
	long := strings.Repeat("x", 65)
	for _, c := range []struct{ content, want string }{
		{"greting: a", "greting: is not known here: did you mean greeting?"},
		{"Greeting: a", "Greeting: is not known here: did you mean greeting?"},
		{"timeouts: {wirte: 1s}", "timeouts.wirte: is not known here: did you mean write?"},
		{"handshake: 1s", "handshake: is not known here: did you mean timeouts.handshake?"},
		{"rate: 1", "rate: is not known here: did you mean limits.per_source.rate or log.rate?"},
		{"limits: {perSource: {}}", "limits.perSource: is not known here: did you mean per_source?"},
		{"zzzzzzzzzz: 1", "zzzzzzzzzz: is not known here: there are listeners, greeting, greeting_file, timeouts, limits, access, log, admin"},
		{"admin: {<<: {}}", `admin: must not merge with <<: write out what it stands for`},
		{"\"a\\nb: c\": 1", `"a\nb: c": is not known here: there are listeners, greeting, greeting_file, timeouts, limits, access, log, admin`},
		{"greeting: a\ngreeting: b", "greeting: is set twice, before in line 1: remove one"},
		{"greeting:", "greeting: has no value: give it one, or remove the key to get the default"},
		{"greeting: 5", "greeting: must be a text, not the number 5: put it in quotes"},
		{"greeting: true", "greeting: must be a text, not true: put it in quotes"},
		{"? [a]\n: b", "must have words as keys, not a list"},
		{"log:\n  {{a: b}: c}", "log: must have words as keys, not a section"},
		{"greeting: 5.5", "greeting: must be a text, not the number 5.5: put it in quotes"},
		{"greeting: .nan", "greeting: must be a text, not the number .nan: put it in quotes"},
		{"greeting: 2026-11-29", `greeting: must be a text, not "!!timestamp 2026-11-29": put it in quotes`},
		{"greeting: ~", "greeting: has no value: give it one, or remove the key to get the default"},
		{"greeting: [a]", "greeting: must be a text, not a list"},
		{"greeting:\n  a: b", "greeting: must be a text, not a section"},
		{"greeting: !!binary aGk=", `greeting: must be a text, not "!!binary aGk=": remove the tag`},
		{"greeting: !odd hello", `greeting: must be a text, not "!odd hello": remove the tag`},
		{"greeting: !!int 5", `greeting: must be a text, not "!!int 5": remove the tag`},
		{"limits: {connections: !odd 5}", `limits.connections: must be a whole number from 0 to 10000000, not "!odd 5": remove the tag`},
		{`limits: {connections: !!int "x"}`, `limits.connections: must be a whole number from 0 to 10000000, not "!!int x"`},
		{"timeouts: {write: !!timestamp 2001-12-14}", `timeouts.write: must be a duration with its unit, such as 5s, 500ms or 1m30s, not "!!timestamp 2001-12-14"`},
		{"limits: !odd {connections: 5}", "limits: has the tag !odd, which means nothing here: remove it"},
		{"limits: !!null {connections: 5}", "limits: has the tag !!null, which means nothing here: remove it"},
		{"limits: !!int {connections: 5}", "limits: has the tag !!int, which means nothing here: remove it"},
		{"limits: !<tag:example.com,2026:x> {connections: 5}", `limits: has the tag "tag:example.com,2026:x", which means nothing here: remove it`},
		{"greeting: a\naccess: {allow: !odd [192.0.2.1]}", "access.allow: has the tag !odd, which means nothing here: remove it"},
		{"listeners: [!odd {name: a, address: ':1'}]", "listeners[0]: has the tag !odd, which means nothing here: remove it"},
		{"!odd greeting: hello", "greeting: has the tag !odd, which means nothing here: remove it"},
		{"!odd {greeting: hello}", "has the tag !odd, which means nothing here: remove it"},
		{"timeouts: 5s", `timeouts: must be a section with the keys write, handshake, linger, lameduck, drain, not the text "5s"`},
		{"timeouts: {write: 5}", `timeouts.write: "5" has no unit: write 5s for seconds or 5ms for milliseconds`},
		{"timeouts: {write: '1.5'}", `timeouts.write: "1.5" has no unit: write 1.5s for seconds or 1.5ms for milliseconds`},
		{"timeouts: {write: 5 s}", `timeouts.write: must be a duration with its unit, such as 5s, 500ms or 1m30s, not the text "5 s"`},
		{"timeouts: {write: 2d}", `timeouts.write: must be a duration with its unit, such as 5s, 500ms or 1m30s, not the text "2d"`},
		{"timeouts: {write: 0s}", `timeouts.write: "0s" must be above 0s`},
		{"timeouts: {handshake: 0s}", `timeouts.handshake: "0s" must be above 0s`},
		{"timeouts: {linger: 0}", `timeouts.linger: "0" has no unit: write 0s for seconds or 0ms for milliseconds`},
		{"timeouts: {linger: -1s}", `timeouts.linger: "-1s" must not be negative`},
		{"timeouts: {drain: 25h}", `timeouts.drain: "25h" must be at most 24h`},
		{"limits: {connections: -1}", "limits.connections: must be a whole number from 0 to 10000000, not the number -1"},
		{"limits: {connections: '5'}", `limits.connections: must be a whole number from 0 to 10000000, not the text "5": remove the quotes`},
		{"limits: {connections: 5.5}", "limits.connections: must be a whole number from 0 to 10000000, not the number 5.5"},
		{"limits: {connections: 010}", "limits.connections: must be a whole number from 0 to 10000000, not the number 010"},
		{"limits: {connections: +010}", "limits.connections: must be a whole number from 0 to 10000000, not the number +010"},
		{"limits: {connections: 0x10}", "limits.connections: must be a whole number from 0 to 10000000, not the number 0x10"},
		{"limits: {connections: 0o17}", "limits.connections: must be a whole number from 0 to 10000000, not the number 0o17"},
		{"limits: {connections: 1_000}", "limits.connections: must be a whole number from 0 to 10000000, not the number 1_000"},
		{"limits: {connections: 1e3}", "limits.connections: must be a whole number from 0 to 10000000, not the number 1e3"},
		{"limits: {connections: 5.0}", "limits.connections: must be a whole number from 0 to 10000000, not the number 5.0"},
		{"limits: {connections: true}", "limits.connections: must be a whole number from 0 to 10000000, not true"},
		{"limits: {connections: .nan}", "limits.connections: must be a whole number from 0 to 10000000, not the number .nan"},
		{"limits: {connections: " + strings.Repeat("9", 100) + "}", "limits.connections: must be a whole number from 0 to 10000000, not the number \"" + strings.Repeat("9", 60) + "\"..."},
		{"limits: {connections: 99999999999999999999}", "limits.connections: must be a whole number from 0 to 10000000, not the number 99999999999999999999"},
		{"limits: {per_source: {rate: .nan}}", "limits.per_source.rate: must be a number from 0 to 1000000, not the number .nan"},
		{"limits: {per_source: {rate: .inf}}", "limits.per_source.rate: must be a number from 0 to 1000000, not the number .inf"},
		{"limits: {per_source: {rate: -.inf}}", "limits.per_source.rate: must be a number from 0 to 1000000, not the number -.inf"},
		{"limits: {per_source: {rate: 1e400}}", `limits.per_source.rate: must be a number from 0 to 1000000, not the text "1e400"`},
		{"limits: {per_source: {rate: '5'}}", `limits.per_source.rate: must be a number from 0 to 1000000, not the text "5": remove the quotes`},
		{"limits: {per_source: {rate: -0.1}}", "limits.per_source.rate: must be a number from 0 to 1000000, not the number -0.1"},
		{"limits: {per_source: {ipv4_prefix: 33}}", "limits.per_source.ipv4_prefix: must be a whole number from 1 to 32, not the number 33"},
		{"limits: {per_source: {ipv6_prefix: 0}}", "limits.per_source.ipv6_prefix: must be a whole number from 1 to 128, not the number 0"},
		{"access: {allow: 10.0.0.0/8}", `access.allow: must be a list, not the text "10.0.0.0/8": write ["10.0.0.0/8"]`},
		{"access: {allow: [10.0.0.1/8]}", `access.allow[0]: "10.0.0.1/8" has bits set beyond its length: write 10.0.0.0/8 for the network, or 10.0.0.1 for this address alone`},
		{"access: {deny: ['::ffff:10.0.0.1/104']}", `access.deny[0]: "::ffff:10.0.0.1/104" has bits set beyond its length: write 10.0.0.0/8 for the network, or 10.0.0.1 for this address alone`},
		{"access: {deny: ['::ffff:10.0.0.1/80']}", `access.deny[0]: "::ffff:10.0.0.1/80" has bits set beyond its length: write ::/80 for the network, or ::ffff:10.0.0.1 for this address alone`},
		{"access: {deny: [10.0.0.0/33]}", `access.deny[0]: must be a CIDR such as 192.0.2.0/24, or an address, not the text "10.0.0.0/33"`},
		{"access: {deny: [fe80::1%eth0]}", `access.deny[0]: "fe80::1%eth0" must not have a zone: write fe80::1`},
		{"access: {deny: [10.1]}", `access.deny[0]: must be a CIDR such as 192.0.2.0/24, or an address, not the number 10.1`},
		{"access: {deny: [~]}", `access.deny[0]: has no value: give it one, or remove it from the list`},
		{"log: {output: journal}", `log.output: must be auto, journald, syslog, stdout or stderr, not the text "journal"`},
		{"log: {level: INFO}", `log.level: must be error, warning, warn, info or debug, not the text "INFO"`},
		{"log: {visits: yes}", `log.visits: must be all, problems or none, not the text "yes"`},
		{"log: {burst: 0}", "log.burst: must be above 0 where log.rate is: with 0 no visit could be logged"},
		{"admin: {address: ':10000'}", `admin.address: ":10000" overlaps ":10000" of listeners[0]: give admin its own`},
		{"listeners: []", "listeners: must have from 1 to 1000 elements, not 0"},
		{"listeners: [" + strings.Repeat("{name: a, address: ':0'},", 1001) + "]", "listeners: must have from 1 to 1000 elements, not 1001"},
		{"listeners: {}", "listeners: must be a list, not a section"},
		{"listeners: [':80']", `listeners[0]: must be a section with the keys name, address, reuse_port, connections, proxy_trusted, tls, mode, group, not the text ":80"`},
		{"listeners: [{name: a}]", `listeners[0].address: is missing: give an address such as ":10000"`},
		{"listeners: [{address: ':1'}]", `listeners[0].name: is missing: give a name such as greet`},
		{"listeners: [{name: '', address: ':1'}]", `listeners[0].name: "" must not be empty: give a name such as greet`},
		{"listeners: [{name: 'a b', address: ':1'}]", `listeners[0].name: "a b" must be made of letters a to z, digits, "-", "_" and "."`},
		{"listeners: [{name: 'ä', address: ':1'}]", `listeners[0].name: "ä" must be made of letters a to z, digits, "-", "_" and "."`},
		{"listeners: [{name: " + long + ", address: ':1'}]", `listeners[0].name: "` + long[:60] + `"... must have at most 64 characters, not 65`},
		{"listeners: [{name: a, address: ':1'}, {name: a, address: ':2'}]", `listeners[1].name: "a" is the name of listeners[0] too: give each its own`},
		{"listeners: [{name: a, address: ':1', reuse_port: yes}]", `listeners[0].reuse_port: must be true or false, not the text "yes"`},
		{"listeners: [{name: a, address: ':1', reuse_port: 1}]", `listeners[0].reuse_port: must be true or false, not the number 1`},
		{"listeners: [{name: a, address: 'unix:/a', reuse_port: true}]", `listeners[0].reuse_port: must be false for a unix address: there are no ports to reuse`},
		{"listeners: [{name: a, address: 'unix:/a', proxy_trusted: [10.0.0.0/8]}]", `listeners[0].proxy_trusted: has only addresses, and the peers of a unix socket have none: write [unix] to trust all of them`},
		{"listeners: [{name: a, address: ':1', proxy_trusted: [unix]}]", `listeners[0].proxy_trusted: has only unix, and the peers of ":1" have addresses: write the addresses of the load balancers`},
		{"access: {deny: [unix]}", `access.deny[0]: must be a CIDR such as 192.0.2.0/24, or an address, not the text "unix"`},
		{"listeners: [{name: 1, address: ':1'}]", `listeners[0].name: must be a name such as greet, not the number 1: put it in quotes`},
		{"listeners: [{name: no, address: ':1', reuse_port: 'true'}]", `listeners[0].reuse_port: must be true or false, not the text "true": remove the quotes`},
		{"listeners: [{name: a, address: \"unix:/a\\0b\"}]", `listeners[0].address: "unix:/a\x00b" must not have a NUL byte: no path has one`},
		{"listeners: [{name: a, address: 'unix:/a', mode: 66}]", `listeners[0].mode: must be an octal file mode from "0001" to "0777", not the number 66`},
		{"listeners: [{name: a, address: 'unix:/a', mode: '0000'}]", `listeners[0].mode: must be an octal file mode from "0001" to "0777", not the text "0000"`},
		{"listeners: [{name: a, address: 'unix:/a', mode: 0x1b6}]", `listeners[0].mode: must be an octal file mode from "0001" to "0777", not the number 0x1b6`},
		{"listeners: [{name: a, address: ':1', mode: '0600'}]", `listeners[0].mode: has no effect on ":1", which has no file: remove it (for a socket unit, set SocketMode= there)`},
		{"listeners: [{name: a, address: 'unix:@a', group: adm}]", `listeners[0].group: has no effect on "unix:@a", which has no file: remove it (for a socket unit, set SocketGroup= there)`},
		{"listeners: [{name: a, address: 'unix:/a', mode: '0668'}]", `listeners[0].mode: must be an octal file mode from "0001" to "0777", not the text "0668"`},
		{"listeners: [{name: a, address: 'unix:/a', mode: '0444'}]", `listeners[0].mode: "0444" lets nobody connect: a client needs write permission (unix(7)): write 0666 for every local user, or 0660 for the group`},
		{"admin: {address: 'unix:@a'}", `admin.address: "unix:@a" must not be abstract: such a socket has no permissions, and every local user could control the daemon; write unix:/run/greetd/admin.sock`},
		{"listeners: [{name: a, address: 'unix:/a', mode: 1777}]", `listeners[0].mode: must be an octal file mode from "0001" to "0777", not the number 1777`},
		{"listeners: [{name: a, address: 'unix:/a', group: 'a b'}]", `listeners[0].group: must be the name of a group, not the text "a b"`},
		{"listeners: [{name: a, address: ':1', tls: {certificate: a}}]", `listeners[0].tls.key: is missing: a certificate needs its key`},
		{"listeners: [{name: a, address: ':1', tls: {key: a}}]", `listeners[0].tls.certificate: is missing: a key needs its certificate`},
		{"listeners: [{name: a, address: ':1', tls: {key: \"\\0\", certificate: \"\"}}]", `listeners[0].tls.key: "\x00" must not have a NUL byte: no path has one`},
	} {
		line := 1 + strings.Count(c.content, "\n")
		if strings.HasPrefix(c.content, "?") {
			line = 1
		}
		equal(t, c.content, complaints(t, c.content, nil, nil), []string{fmt.Sprintf("FILE:%d: %s", line, c.want)})
	}
}

func TestLoadRefusesAddresses(t *testing.T) {
	for address, want := range map[string]string{
		"":                                  `"" must not be empty: give a port, such as ":10000"`,
		"10000":                             `"10000" has no colon: write ":10000"`,
		"localhost":                         `"localhost" has no port: write "localhost:10000"`,
		"127.0.0.1":                         `"127.0.0.1" has no port: write "127.0.0.1:10000"`,
		"::1":                               `"::1" has no port: write "[::1]:10000"`,
		"[::1]":                             `"[::1]" has no port: write "[::1]:10000"`,
		"fe80::1%eth0:x:80":                 `"fe80::1%eth0:x:80" has no port: write "[fe80::1%eth0:x:80]:10000"`,
		"2001:db8::1::80":                   `"2001:db8::1::80" must have brackets around an IPv6 address, such as "[2001:db8::1]:10000"`,
		"localhost:":                        `"localhost:" has no port after the colon: write one, such as ":10000"`,
		":65536":                            `":65536" has port "65536": ports are from 1 to 65535, and 0 is any free port`,
		":-1":                               `":-1" has port "-1": ports are from 1 to 65535, and 0 is any free port`,
		":no-such-service":                  `":no-such-service" has port "no-such-service", which is neither a number nor a service in /etc/services`,
		"*:80":                              `"*:80" must not have a star: for all addresses write ":80"`,
		"300.0.0.1:80":                      `"300.0.0.1:80" has host "300.0.0.1", which is neither an IP address nor a host name`,
		"a b:80":                            `"a b:80" has host "a b", which is neither an IP address nor a host name`,
		strings.Repeat("x", 64) + ".a:80":   `"` + strings.Repeat("x", 60) + `"... has host "` + strings.Repeat("x", 60) + `"..., which is neither an IP address nor a host name`,
		"-a.example:80":                     `"-a.example:80" has host "-a.example", which is neither an IP address nor a host name`,
		"[localhost:80":                     `"[localhost:80" must be host:port, such as ":10000" or "192.0.2.1:10000"`,
		"/run/greet.sock":                   `"/run/greet.sock" has no port: for a unix socket write "unix:/run/greet.sock"`,
		"unix:":                             `"unix:" must have an absolute path, such as unix:/run/greetd/greet.sock`,
		"unix:greet.sock":                   `"unix:greet.sock" must have an absolute path, such as unix:/run/greetd/greet.sock`,
		"unix:@":                            `"unix:@" must have a name after the @, such as unix:@greet`,
		"unix:/run/":                        `"unix:/run/" must name a socket in that directory, such as unix:/run/greetd/greet.sock`,
		"unix:/" + strings.Repeat("x", 107): `"unix:/` + strings.Repeat("x", 54) + `"... must have a path of at most 107 bytes, not 108: no socket can have a longer one`,
	} {
		equal(t, address, complaints(t, "greeting: a", nil, []string{address}), []string{"flag --listen: listeners[0].address: " + want})
	}
}

func TestLoadAcceptsAddresses(t *testing.T) {
	for _, address := range []string{
		strings.Repeat("x", 63) + ".example:80", ":0", ":1", ":65535", ":http", "localhost:80", "a-b.example.:80", "my_host:80", "127.0.0.1:80", "[::1]:80", "[fe80::1%eth0]:80",
		"[::]:80", "0.0.0.0:80", "unix:/a", "unix:/" + strings.Repeat("x", 106), "xn--bcher-kva.example:80",
	} {
		equal(t, address, complaints(t, "greeting: a", nil, []string{address}), []string(nil))
	}
}

func TestLoadTellsOverlaps(t *testing.T) {
	for _, c := range []struct {
		a, b     string
		overlaps bool
	}{
		{":80", ":80", true},
		{":80", ":81", false},
		{":80", ":http", true},
		{":80", "127.0.0.1:80", true},
		{":80", "[::1]:80", true},
		{":80", "localhost:80", true},
		{"127.0.0.1:80", "127.0.0.1:80", true},
		{"127.0.0.1:80", "[::ffff:127.0.0.1]:80", true},
		{"127.0.0.1:80", "127.0.0.2:80", false},
		{"127.0.0.1:80", "[::1]:80", false},
		{"0.0.0.0:80", "127.0.0.1:80", true},
		{"0.0.0.0:80", "[::]:80", false},
		{"0.0.0.0:80", "[::1]:80", false},
		{"[::]:80", "[::1]:80", true},
		{"[::]:80", "127.0.0.1:80", false},
		{"[::]:80", "localhost:80", true},
		{"[::1]:80", "[0::1]:80", true},
		{"[fe80::1%a]:80", "[fe80::1%b]:80", false},
		{"Localhost:80", "localhost.:80", true},
		{"localhost:80", "other:80", false},
		{":0", ":0", false},
		{"unix:/a/b", "unix:/a//./b", true},
		{"unix:/a", "unix:/b", false},
		{"unix:/a", ":80", false},
	} {
		var want []string
		if c.overlaps {
			want = []string{fmt.Sprintf("flag --listen: listeners[1].address: %q overlaps %q of listeners[0]: change one, or remove it", c.b, c.a)}
		}
		equal(t, c.a+" and "+c.b, complaints(t, "greeting: a", nil, []string{c.a, c.b}), want)
	}
}

func TestLoadTellsEveryProblemInOrder(t *testing.T) {
	got := complaints(t, `greeting: 1
listeners:
  - name: a
    address: :80
  - name: a
    address: 127.0.0.1:80
nonsense: 1
timeouts: {write: 5, linger: x}
`, []string{"GREETD_LOG_LEVEL=loud", "GREETD_ADMIN_ADDRESS=x"}, nil)
	equal(t, "problems", got, []string{
		"FILE:1: greeting: must be a text, not the number 1: put it in quotes",
		`FILE:5: listeners[1].name: "a" is the name of listeners[0] too: give each its own`,
		`FILE:6: listeners[1].address: "127.0.0.1:80" overlaps ":80" of listeners[0]: change one, or remove it`,
		"FILE:7: nonsense: is not known here: there are listeners, greeting, greeting_file, timeouts, limits, access, log, admin",
		`FILE:8: timeouts.write: "5" has no unit: write 5s for seconds or 5ms for milliseconds`,
		`FILE:8: timeouts.linger: must be a duration with its unit, such as 5s, 500ms or 1m30s, not the text "x"`,
		`environment GREETD_ADMIN_ADDRESS: admin.address: "x" has no port: write "x:10000"`,
		`environment GREETD_LOG_LEVEL: log.level: must be error, warning, warn, info or debug, not "loud"`,
	})
}

func TestLoadCountsWhatAliasesRepeat(t *testing.T) {
	var content strings.Builder
	content.WriteString("listeners:\n- {name: a, address: ':0', proxy_trusted: &p [" + strings.Repeat("10.0.0.0/8,", 100_000) + "]}\n")
	content.WriteString("- {name: b, address: ':0', proxy_trusted: *p}\n")
	equal(t, "two lists", complaints(t, content.String(), nil, nil), []string(nil))

	content.WriteString("- {name: c, address: ':0', proxy_trusted: *p}\n")
	equal(t, "three lists", complaints(t, content.String(), nil, nil), []string{
		"FILE:2: listeners[2].proxy_trusted[49987]: has too many values, with those that aliases repeat: at most 250000 are read",
	})
}

func TestLoadCountsBadListenersToo(t *testing.T) {
	equal(t, "problems with an empty one", complaints(t, "listeners: [~, {name: a, address: ':1'}, {name: a, address: ':2'}]", nil, nil), []string{
		"FILE:1: listeners[0]: has no value: give it one, or remove it from the list",
		`FILE:1: listeners[2].name: "a" is the name of listeners[1] too: give each its own`,
	})
	got := complaints(t, "listeners: [5, {name: a, address: ':1'}, {name: a, address: ':2'}]", nil, nil)
	equal(t, "problems", got, []string{
		"FILE:1: listeners[0]: must be a section with the keys name, address, reuse_port, connections, proxy_trusted, tls, mode, group, not the number 5",
		`FILE:1: listeners[2].name: "a" is the name of listeners[1] too: give each its own`,
	})
}

func TestLoadRefusesVariables(t *testing.T) {
	for variable, want := range map[string]string{
		"GREETD_LISTEN=" + strings.Repeat(":0,", 1000) + ":0": "environment GREETD_LISTEN: listeners: must have from 1 to 1000 addresses, not 1001: give some, or unset it",

		"GREETD_LOG_LEVL=info":                "environment GREETD_LOG_LEVL: is not known: did you mean GREETD_LOG_LEVEL? Else unset it",
		"GREETD_LISTENERS=:80":                "environment GREETD_LISTENERS: is not known: did you mean GREETD_LISTEN? Else unset it",
		"GREETD_XYZXYZXYZ=1":                  "environment GREETD_XYZXYZXYZ: is not known: unset it, or see `greetd config` for the keys",
		"GREETD_LISTEN= ":                     "environment GREETD_LISTEN: listeners: must have from 1 to 1000 addresses, not 0: give some, or unset it",
		"GREETD_LISTEN=:1,x":                  `environment GREETD_LISTEN: listeners[1].address: "x" has no port: write "x:10000"`,
		"GREETD_LOG_RATE=":                    `environment GREETD_LOG_RATE: log.rate: must be a whole number from 0 to 1000000, not ""`,
		"GREETD_LIMITS_PER_SOURCE_RATE=NaN":   `environment GREETD_LIMITS_PER_SOURCE_RATE: limits.per_source.rate: must be a number from 0 to 1000000, not "NaN"`,
		"GREETD_LIMITS_PER_SOURCE_RATE=.nan":  `environment GREETD_LIMITS_PER_SOURCE_RATE: limits.per_source.rate: must be a number from 0 to 1000000, not ".nan"`,
		"GREETD_LIMITS_PER_SOURCE_RATE=Inf":   `environment GREETD_LIMITS_PER_SOURCE_RATE: limits.per_source.rate: must be a number from 0 to 1000000, not "Inf"`,
		"GREETD_LIMITS_PER_SOURCE_RATE=-inf":  `environment GREETD_LIMITS_PER_SOURCE_RATE: limits.per_source.rate: must be a number from 0 to 1000000, not "-inf"`,
		"GREETD_LIMITS_PER_SOURCE_RATE=1e400": `environment GREETD_LIMITS_PER_SOURCE_RATE: limits.per_source.rate: must be a number from 0 to 1000000, not "1e400"`,
		"GREETD_LIMITS_PER_SOURCE_RATE=true":  `environment GREETD_LIMITS_PER_SOURCE_RATE: limits.per_source.rate: must be a number from 0 to 1000000, not "true"`,
		"GREETD_LOG_RATE=010":                 `environment GREETD_LOG_RATE: log.rate: must be a whole number from 0 to 1000000, not "010"`,
		"GREETD_LOG_RATE=1e3":                 `environment GREETD_LOG_RATE: log.rate: must be a whole number from 0 to 1000000, not "1e3"`,
		"GREETD_LOG_RATE=5.0":                 `environment GREETD_LOG_RATE: log.rate: must be a whole number from 0 to 1000000, not "5.0"`,
		"GREETD_LOG_RATE=0x10":                `environment GREETD_LOG_RATE: log.rate: must be a whole number from 0 to 1000000, not "0x10"`,
		"GREETD_LOG_RATE=NaN":                 `environment GREETD_LOG_RATE: log.rate: must be a whole number from 0 to 1000000, not "NaN"`,
		"GREETD_LOG_RATE=1_000":               `environment GREETD_LOG_RATE: log.rate: must be a whole number from 0 to 1000000, not "1_000"`,
		"GREETD_LIMITS_PER_SOURCE_RATE=0x1p4": `environment GREETD_LIMITS_PER_SOURCE_RATE: limits.per_source.rate: must be a number from 0 to 1000000, not "0x1p4"`,
		"GREETD_TIMEOUTS_WRITE=5":             `environment GREETD_TIMEOUTS_WRITE: timeouts.write: "5" has no unit: write 5s for seconds or 5ms for milliseconds`,
		"GREETD_ACCESS_DENY=::1,,1":           `environment GREETD_ACCESS_DENY: access.deny: must be a CIDR such as 192.0.2.0/24, or an address, not ""; must be a CIDR such as 192.0.2.0/24, or an address, not "1"`,
		"GREETD_GREETING=caf\xe9":             `environment GREETD_GREETING: greeting: must be UTF-8 without NUL, not "caf\xe9"`,
		"GREETD_PORT=8080":                    "environment GREETD_PORT: is not known: unset it, or see `greetd config` for the keys",
		"GREETD_PORT=tcp://10.0.0.1":          "",
		// What Kubernetes sets for a service named greetd, and one named greetd-tcp.
		"GREETD_SERVICE_HOST=10.0.0.1":                     "",
		"GREETD_SERVICE_PORT=10000":                        "",
		"GREETD_SERVICE_PORT_GREET=10000":                  "",
		"GREETD_TCP_PORT_10000_TCP_ADDR=10.0.0.1":          "",
		"GREETD_TCP_PORT_10000_TCP=tcp://10.0.0.1:10000":   "",
		"OTHER_LOG_LEVEL=x":                                "",
		"GREETD_LIMITS_PER_SOURCE_CONNECTIONS=3":           "",
		"GREETD_CONFIG=/is/not/asked/where/--config/is":    "",
		"GREETD_LISTEN=127.0.0.1:0 , unix:/run/greet.sock": "",
	} {
		var lines []string
		if want != "" {
			lines = []string{want}
		}
		t.Run(variable, func(t *testing.T) {
			equal(t, "problems", complaints(t, "greeting: a", []string{variable}, nil), lines)
		})
	}
}

func TestLoadAcceptsTagsThatSayWhatIsThere(t *testing.T) {
	equal(t, "problems", complaints(t, `!!map
? !!str greeting
: !!str 5
limits: !!map {connections: !!int "5", per_source: {rate: !!float 5}}
access: {allow: !!seq [!!str 192.0.2.1], deny: ! [! 192.0.2.2]}
timeouts: !<tag:yaml.org,2002:map> {write: !!str 5s}
`, nil, nil), []string(nil))
}

func TestLoadFollowsAliases(t *testing.T) {
	l, err := Load(Source{Path: write(t, `
listeners:
  - {name: a, address: ":1", proxy_trusted: &lb [10.0.0.0/8]}
  - {name: b, address: ":2", proxy_trusted: *lb}
`)})
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "trusted", l.Listeners[1].ProxyTrusted, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")})
}

// Each of these would keep a careless reader busy for long, or for ever.
func TestLoadRefusesBombs(t *testing.T) {
	fill := func(s string) string { return strings.Repeat(s, (mostBytes-200)/len(s)) }
	many := func(s string) string { return strings.Repeat(s, (mostValues-100)/(values([]byte(s))+1)) }
	for name, content := range map[string]string{
		"an alias of itself":  "access: &a {allow: *a}",
		"a section of itself": "listeners: &a [*a]",
		"repeated lists": "listeners:\n- {name: a, address: ':1', proxy_trusted: &p [" + strings.Repeat("10.0.0.0/8,", 20_000) + "]}\n" +
			strings.Repeat("- {name: b, address: ':2', proxy_trusted: *p}\n", 900),
		"millions of keys":  fill("a: 1\n"),
		"millions of texts": "a: [" + fill("b,") + "]",
		"unknown keys":      many("a: 1\n"),
		"listeners":         "listeners:\n" + many("- {}\n"),
		"brackets":          many("["),
		"braces":            many("{a: "),
		"dashes":            fill("- "),
		"questions":         fill("? "),
		"comments":          "a: 1\n" + many("#\n"),
		"blanks":            "a:" + fill(" "),
		"a long key":        fill("x") + ": 1",
		"a long number":     "limits: {connections: " + fill("1") + "}",
		"a long address":    "admin: {address: '" + fill("x") + "'}",
		"aliases":           "access: {allow: [&a 10.1.0.1/8" + many(",*a") + "]}",
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			_, err := Load(Source{Path: write(t, content)})
			t.Log(time.Since(start), len(err.Error()))
			if all := problemsIn(err); len(all) == 0 || len(all) > mostProblems+1 {
				t.Errorf("%d problems, want from 1 to %d", len(all), mostProblems+1)
			}
			if n := len(err.Error()); n > 64<<10 {
				t.Errorf("they are told in %d bytes, want at most 64 KiB", n)
			}
		})
	}
}

func TestLoadTellsThatThereIsMore(t *testing.T) {
	got := complaints(t, strings.Repeat("x: 1\n", 150), nil, nil)
	equal(t, "number", len(got), 101)
	equal(t, "last", got[100], "FILE: there are more problems: correct these first")
}

func TestLoadTakes100000Prefixes(t *testing.T) {
	var content strings.Builder
	content.WriteString("access:\n  deny:\n")
	for i := range 100_000 {
		fmt.Fprintf(&content, "    - 10.%d.%d.%d\n", i>>16, i>>8&255, i&255)
	}
	start := time.Now()
	l, err := Load(Source{Path: write(t, content.String())})
	t.Log(time.Since(start))
	if err != nil || len(l.Access.Deny) != 100_000 {
		t.Errorf("%d prefixes, error %v", len(l.Access.Deny), err)
	}
	equal(t, "origin", l.Origin("access.deny[99999]"), l.Path+":100002")
}

func TestProblemNamesTheOrigin(t *testing.T) {
	path := write(t, "greeting: a\nlisteners:\n  - name: a\n    address: ':1'\n    tls:\n      certificate: c\n      key: k\n")
	setenv(t, "GREETD_ADMIN_ADDRESS=:2")
	l, err := Load(Source{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	cause := errors.New("is not what it should be")
	for key, where := range map[string]string{
		"greeting":                      path + ":1",
		"listeners[0].tls.certificate":  path + ":6",
		"listeners[0].proxy_trusted":    path + ":3",
		"listeners[0].proxy_trusted[7]": path + ":3",
		"admin.address":                 "environment GREETD_ADMIN_ADDRESS",
		"log.level":                     "default",
	} {
		err := l.Problem(key, cause)
		equal(t, key, err.Error(), where+": "+key+": is not what it should be")
		equal(t, "cause of "+key, errors.Is(err, cause), true)
	}
	equal(t, "problem of nil", l.Problem("greeting", nil), error(nil))
	equal(t, "problems", len(problemsIn(fmt.Errorf("x: %w", errors.Join(cause, l.Problem("greeting", cause), l.Problem("log", cause))))), 2)
}
