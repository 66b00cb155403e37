package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestYAMLTellsOrigins(t *testing.T) {
	path := write(t, "limits: {connections: 5}\naccess:\n  deny:\n    - 10.0.0.0/8\n    - ::1\n")
	setenv(t, "GREETD_LOG_LEVEL=debug")
	l, err := Load(Source{Path: path, Listen: listenFlag("unix:/a b")})
	if err != nil {
		t.Fatal(err)
	}
	want := `listeners:                           # flag --listen
  - name: "greet"                    # flag --listen
    address: "unix:/a b"             # flag --listen
    reuse_port: false                # default
    connections: 0                   # default
    proxy_trusted: []                # default
    tls:
      certificate: ""                # default
      key: ""                        # default
    mode: "0666"                     # default
    group: ""                        # default
greeting: "Hello there, {{.IP}}!\n"  # default
greeting_file: ""                    # default
timeouts:
  write: 5s                          # default
  handshake: 3s                      # default
  linger: 1s                         # default
  lameduck: 0s                       # default
  drain: 10s                         # default
limits:
  connections: 5                     # FILE:1
  per_source:
    connections: 0                   # default
    rate: 0                          # default
    burst: 0                         # default
    ipv4_prefix: 32                  # default
    ipv6_prefix: 64                  # default
access:
  allow: []                          # default
  deny:
    - 10.0.0.0/8                     # FILE:4
    - ::1/128                        # FILE:5
log:
  output: "auto"                     # default
  level: "debug"                     # environment GREETD_LOG_LEVEL
  format: "text"                     # default
  visits: "all"                      # default
  rate: 300                          # default
  burst: 1000                        # default
  skip: []                           # default
admin:
  address: ""                        # default
  web_config_file: ""                # default
`
	equal(t, "YAML", strings.ReplaceAll(string(l.YAML()), path, "FILE"), want)
}

func TestYAMLQuotesThePath(t *testing.T) {
	path := filepath.Join(t.TempDir(), "odd\nlog: {level: debug}\n#")
	if err := os.WriteFile(path, []byte("greeting: a"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := Load(Source{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	again, err := Load(Source{Path: write(t, string(l.YAML()))})
	equal(t, "error", err, nil)
	equal(t, "configuration", again.Config, l.Config)
}

// reference is what operators read.
const reference = "../../configs/greetd.yaml"

func TestReferenceFileHasEveryKeyAndItsDefault(t *testing.T) {
	l, err := Load(Source{Path: reference})
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "reference file", l.Config, Default())
	for _, value := range schema.values("") {
		key := strings.Replace(value.key, "[]", "[0]", 1)
		if !strings.HasPrefix(l.Origin(key), reference) {
			t.Errorf("%s is not in %s", key, reference)
		}
	}
}

func TestSchemaIsConfig(t *testing.T) {
	var inSchema []string
	for _, value := range schema.values("") {
		inSchema = append(inSchema, value.key)
	}
	equal(t, "keys", inSchema, keysOf(reflect.TypeFor[Config](), ""))
}

// keysOf lists the keys of the values in t, as schema.values does.
func keysOf(t reflect.Type, prefix string) []string {
	var keys []string
	for f := range t.Fields() {
		key := join(prefix, f.Tag.Get("mapstructure"))
		switch {
		case f.Type.Kind() == reflect.Struct:
			keys = append(keys, keysOf(f.Type, key)...)
		case f.Type == reflect.TypeFor[[]Listener]():
			keys = append(keys, keysOf(f.Type.Elem(), key+"[]")...)
		default:
			keys = append(keys, key)
		}
	}
	return keys
}
