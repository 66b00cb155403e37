package config

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzLoad holds Load to its promise for any file, variable and flag: either every
// Problem has a reason, or YAML loads back to the same Config.
func FuzzLoad(f *testing.F) {
	f.Add("log: {output: auto, level: info, visits: all}", "GREETD_ACCESS_ALLOW=10.0.0.0/8,::1", ":10000")
	f.Add("greeting: 'a'\naccess: {allow: &a [10.0.0.0/8], deny: *a}", "GREETD_LOG_LEVEL=debug", "unix:/run/x")
	f.Add("limits: {per_source: {rate: 1e-3}}\ngreeting: |\n a\n \u2028b\n", "GREETD_GREETING=\x7f\"\\\n", "[::1%a]:http")
	f.Add("listeners:\n- {name: a, address: ':80', tls: {certificate: a, key: \"\\u00a0\\0\"}}", "GREETD_LISTEN=:1,:2", "")
	f.Add("a: &a {<<: *a}\n? [x]\n: !!int y\n", "GREETD_X", "localhost")
	f.Add("timeouts: {write: 5, linger: 1h1m1s1ns}\nlog: {rate: 0x10, rate: 1}\n---\n", "GREETD_TIMEOUTS_DRAIN=1µs", "a:1")

	f.Fuzz(func(t *testing.T, content, variable, address string) {
		path := filepath.Join(t.TempDir(), "greetd.yaml")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		name, value, _ := strings.Cut(variable, "=")
		if !strings.HasPrefix(name, envPrefix) || strings.ContainsRune(variable, 0) {
			t.Skip("no variable that could be ours")
		}
		t.Setenv(name, value)
		source := Source{Path: path}
		if address != "" {
			source.Listen = listenFlag(address)
		}
		l, err := Load(source)
		if err != nil {
			checkProblems(t, err)
			return
		}
		if err := os.Unsetenv(name); err != nil {
			t.Fatal(err)
		}
		again, err := Load(Source{Path: rewrite(t, path, l.YAML())})
		if err != nil {
			t.Fatalf("YAML does not load: %v\n%s", err, l.YAML())
		}
		if !reflect.DeepEqual(again.Config, l.Config) {
			t.Errorf("YAML loads as\n%+v, want\n%+v", again.Config, l.Config)
		}
	})
}

func rewrite(t *testing.T, path string, content []byte) string {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func checkProblems(t *testing.T, err error) {
	t.Helper()
	all := problemsIn(err)
	lines := strings.Split(err.Error(), "\n")
	if len(all) == 0 || len(all) != len(lines) {
		t.Fatalf("%d problems in %d lines: %v", len(all), len(lines), err)
	}
	for _, p := range all {
		if p.File == "" || strings.TrimSpace(p.Reason) == "" || errors.Unwrap(p) != nil {
			t.Errorf("%#v, want a file, a reason and no cause", p)
		}
	}
}

// problemsIn lists each [Problem] in err, in the order in which err tells them.
func problemsIn(err error) []*Problem {
	switch e := err.(type) { //nolint:errorlint // this walks the tree by itself
	case *Problem:
		return []*Problem{e}
	case interface{ Unwrap() error }:
		return problemsIn(e.Unwrap())
	case interface{ Unwrap() []error }:
		var all []*Problem
		for _, one := range e.Unwrap() {
			all = append(all, problemsIn(one)...)
		}
		return all
	}
	return nil
}

// FuzzJSONSchemaAcceptsWhatRulesAccept: an editor must not mark a value that greetd accepts.
func FuzzJSONSchemaAcceptsWhatRulesAccept(f *testing.F) {
	for _, seed := range []string{
		":1", "a-b.c:smtp", "[::1]:0", "[fe80::1%eth0]:65535", "unix:/a\nb", "unix:@a", "0660", "0o2", "24h", "-0h", "1m.5s", "::ffff:192.0.2.0/120", "unix", "greet-2.a_b",
	} {
		f.Add(seed)
	}
	rules := []rule{listenAddress, adminAddress, fileMode, duration(above0), duration(from0), prefixes, peers, listenerName, groupName, filePath}
	matchers := make(map[string]*regexp.Regexp)
	matches := func(s jsonSchema, text string) bool {
		pattern, _ := s["pattern"].(string)
		if matchers[pattern] == nil {
			matchers[pattern] = regexp.MustCompile(pattern)
		}
		return matchers[pattern].MatchString(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.ContainsAny(text, " \t\n\v\f\r") && !strings.HasPrefix(text, "unix:") {
			return // getaddrinfo(3), which only a build with cgo uses, accepts blanks before a port
		}
		for _, r := range rules {
			if r.check(text) != nil || !utf8.ValidString(text) {
				continue
			}
			not, some := r.json["not"].(jsonSchema)
			if !matches(r.json, text) || some && matches(not, text) {
				t.Errorf("the JSON Schema refuses %q, which is %s", text, r.want)
			}
		}
	})
}
