package config

import (
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// writeAll makes a file of that content and its drop-ins, by name, and returns its path.
func writeAll(t *testing.T, content string, dropIns map[string]string) string {
	t.Helper()
	path := write(t, content)
	if err := os.Mkdir(DropInDirectory(path), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, content := range dropIns {
		if err := os.WriteFile(filepath.Join(DropInDirectory(path), name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

func TestDropInsAreMerged(t *testing.T) {
	path := writeAll(t, `
listeners:
  - {name: a, address: ":1", proxy_trusted: [192.0.2.1, 192.0.2.2], tls: {certificate: c}}
  - {name: b, address: ":2"}
log: {rate: 1, burst: 2}
access: {allow: [192.0.2.1, 192.0.2.2], deny: [192.0.2.3]}
`, map[string]string{
		"20-b.yaml":      "access: {allow: [192.0.2.9]}\nlog: {rate: 3}\n",
		"10-a.yaml":      "log: {rate: 2, level: debug}\nlisteners:\n- {name: c, address: ':3'}\n- {name: a, proxy_trusted: [192.0.2.5], tls: {key: k}}\n",
		"30-c.yaml":      "access: {deny: []}\nlisteners: [{name: c, connections: 7}]\n",
		".hidden.yaml":   "nonsense",
		"10-a.yaml.orig": "nonsense",
		"README":         "nonsense",
	})
	t.Setenv("GREETD_LOG_BURST", "9")
	l, err := Load(Source{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	prefix := netip.MustParsePrefix
	want.Listeners = []Listener{
		{Name: "a", Address: ":1", ProxyTrusted: []netip.Prefix{prefix("192.0.2.5/32")}, TLS: TLS{"c", "k"}, Mode: DefaultMode},
		{Name: "b", Address: ":2", Mode: DefaultMode},
		{Name: "c", Address: ":3", Connections: 7, Mode: DefaultMode},
	}
	want.Log.Rate, want.Log.Burst, want.Log.Level = 3, 9, "debug"
	want.Access.Allow = []netip.Prefix{prefix("192.0.2.9/32")}
	equal(t, "configuration", l.Config, want)

	in := func(name, line string) string { return filepath.Join(DropInDirectory(path), name) + ":" + line }
	for key, want := range map[string]string{
		"listeners[0].address":          path + ":3",
		"listeners[0].name":             path + ":3",
		"listeners[0].proxy_trusted[0]": in("10-a.yaml", "4"),
		"listeners[0].tls.certificate":  path + ":3",
		"listeners[0].tls.key":          in("10-a.yaml", "4"),
		"listeners[1].address":          path + ":4",
		"listeners[2].address":          in("10-a.yaml", "3"),
		"listeners[2].connections":      in("30-c.yaml", "2"),
		"log.rate":                      in("20-b.yaml", "2"),
		"log.burst":                     "environment GREETD_LOG_BURST",
		"log.level":                     in("10-a.yaml", "1"),
		"log.visits":                    "default",
		"access.allow[0]":               in("20-b.yaml", "1"),
		"access.deny":                   in("30-c.yaml", "1"),
	} {
		equal(t, "origin of "+key, l.Origin(key), want)
	}
	if _, stale := l.origins["access.allow[1]"]; stale {
		t.Error("an element of a list that was replaced still has an origin")
	}
	equal(t, "name", l.Name(), path+" and 3 drop-ins")
}

func TestDropInsAreAsStrictAsTheFile(t *testing.T) {
	path := writeAll(t, "greeting: a\nlisteners: [{name: a, address: ':1'}]\nzzz: 1\n", map[string]string{
		"1.yaml": "# a\ngreting: b\n",
		"2.yaml": "log: {rate: x}\nlisteners: [{name: b}, {address: ':3'}, {name: a, tls: {key: k}}, ':4']\n",
		"3.yaml": "",
		"4.yaml": "a: [",
		"5.yaml": "listeners: [{name: c, address: ':1'}, {name: d, address: ':8'}, {name: d, address: ':9'}]",
	})
	if err := os.Symlink("/nowhere", filepath.Join(DropInDirectory(path), "6.yaml")); err != nil {
		t.Fatal(err)
	}
	_, err := Load(Source{Path: path})
	got := strings.Split(strings.ReplaceAll(err.Error(), path, "FILE"), "\n")
	for i, want := range []string{
		"FILE:3: zzz: is not known here",
		"FILE.d/1.yaml:2: greting: is not known here: did you mean greeting?",
		"FILE.d/2.yaml:1: log.rate: must be a whole number",
		`FILE.d/2.yaml:2: listeners[1].name: is missing`,
		`FILE.d/2.yaml:2: listeners[3]: must be a section`,
		`FILE.d/2.yaml:2: listeners[0].address: is missing, and no file before has the listener b: give an address`,
		`FILE.d/2.yaml:2: listeners[0].tls.certificate: is missing`,
		"FILE.d/3.yaml: has no settings",
		"FILE.d/4.yaml:1: is not YAML",
		`FILE.d/5.yaml:1: listeners[4].address: ":1" overlaps ":1" of listeners[0]`,
		`FILE.d/5.yaml:1: listeners[6].name: "d" is the name of listeners[5] too`,
		"FILE.d/6.yaml: is a link to a file that does not exist",
	} {
		if i >= len(got) || !strings.HasPrefix(got[i], want) {
			t.Fatalf("problem %d is not %q, in\n%s", i, want, strings.Join(got, "\n"))
		}
	}
}

// TestLaterGreetingCounts: greeting and greeting_file are two ways to set the same thing, so that the later file,
// or the environment, overrides the earlier one.
func TestLaterGreetingCounts(t *testing.T) {
	for _, test := range []struct {
		file, dropIn   string
		env, value     string // a variable of the environment, if not ""
		greeting, path string // that are effective
	}{
		{"greeting: a", "greeting_file: /b", "", "", Default().Greeting, "/b"},
		{"greeting_file: /a", "greeting: b", "", "", "b", ""},
		{"greeting_file: /a", "greeting: " + strconv.Quote(Default().Greeting), "", "", Default().Greeting, ""},
		{"{greeting: a, greeting_file: ''}", "log: {level: debug}", "", "", "a", ""},
		{"greeting: a", "greeting_file: ''", "", "", "a", ""},
		{"greeting: a", "greeting_file: /b", "GREETD_GREETING", "c", "c", ""},
		{"greeting: a", "greeting: b", "GREETD_GREETING_FILE", "/c", Default().Greeting, "/c"},
	} {
		t.Run(test.file+", "+test.dropIn+" "+test.env, func(t *testing.T) {
			if test.env != "" {
				t.Setenv(test.env, test.value)
			}
			l, err := Load(Source{Path: writeAll(t, test.file, map[string]string{"1.yaml": test.dropIn})})
			if err != nil || l.Greeting != test.greeting || l.GreetingFile != test.path {
				t.Errorf("greeting %q, greeting_file %q, %v; want %q and %q", l.Greeting, l.GreetingFile, err, test.greeting, test.path)
			}
			if l.GreetingFile != "" && l.IsSet("greeting") {
				t.Error("a greeting without effect has an origin")
			}
		})
	}
	_, err := Load(Source{Path: writeAll(t, "greeting: a", map[string]string{"1.yaml": "{greeting: b, greeting_file: /b}"})})
	if err == nil || !strings.Contains(err.Error(), ".d/1.yaml:1: greeting_file: takes the place of greeting, which is set too") {
		t.Errorf("both in one file: %v", err)
	}
}

// A drop-in that changes a listener of an earlier file twice has a mistake, as one that adds a listener twice has.
func TestDropInNamesAListenerOnce(t *testing.T) {
	_, err := Load(Source{Path: writeAll(t, "listeners: [{name: a, address: ':1'}, {name: b, address: ':2'}]", map[string]string{
		"1.yaml": "listeners:\n- {name: b, connections: 5}\n- {name: a, connections: 5}\n- {name: b, reuse_port: true}\n",
		"2.yaml": "listeners:\n- {name: b, connections: 6}\n",
	})})
	want := `.d/1.yaml:4: listeners[2].name: "b" is the name of listeners[0] too: give each its own`
	if all := problemsIn(err); len(all) != 1 || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("%v, want %s", err, want)
	}
}

// A file that is renamed so must not leave its settings out in silence.
func TestDropInsEndInYAML(t *testing.T) {
	for _, name := range []string{"1.yml", "1.YAML", "1.Yml"} {
		path := writeAll(t, "greeting: a", map[string]string{name: "access: {deny: [192.0.2.1]}", "9.yml": "", ".2.yml": "nonsense", "3.yaml": "log: {rate: x}"})
		_, err := Load(Source{Path: path})
		if err == nil || !strings.Contains(err.Error(), path+".d/"+name+": would not be read: a drop-in ends in .yaml") ||
			!strings.Contains(err.Error(), "9.yml: would not be read") || !strings.Contains(err.Error(), "3.yaml:1: log.rate") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDropInsWithoutTheFile(t *testing.T) {
	path := writeAll(t, "greeting: a", map[string]string{"1.yaml": "greeting: b"})
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	l, err := load(Source{}, path)
	if err != nil || l.Greeting != "b" || l.Path != "" || l.Name() != "1 drop-in in "+path+".d" {
		t.Errorf("at the default path: %q from %q, %v", l.Greeting, l.Name(), err)
	}
	if _, err := Load(Source{Path: path}); err == nil {
		t.Error("a file that is named must exist, whatever its drop-ins are")
	}
}

func TestVanished(t *testing.T) {
	path := writeAll(t, "greeting: a", map[string]string{"1.yaml": "greeting: b"})
	l, err := Load(Source{Path: path})
	if err != nil || l.Vanished() != nil {
		t.Fatal(err, l.Vanished())
	}
	if err := os.Remove(l.DropIns[0]); err != nil || l.Vanished() != nil {
		t.Errorf("a drop-in was removed on purpose: %v, %v", err, l.Vanished())
	}
	if err := os.Remove(path + ".d"); err != nil {
		t.Fatal(err)
	}
	if err := l.Vanished(); err == nil || !strings.HasPrefix(err.Error(), path+".d: does not exist any more, and 1 drop-in came from it") {
		t.Errorf("without the directory: %v", err)
	}
}
