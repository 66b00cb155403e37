package config_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"greetd.example/internal/config"
)

// validator is that of the schema, as editors use it.
func validator(t *testing.T) func(text string) error {
	t.Helper()
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(config.JSONSchema()))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("greetd.schema.json", document); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile("greetd.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return func(text string) error {
		var value any
		if err := yaml.Unmarshal([]byte(text), &value); err != nil {
			return err
		}
		return schema.Validate(value)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestJSONSchemaFileIsCurrent(t *testing.T) {
	if read(t, "../../configs/greetd.schema.json") != string(config.JSONSchema()) {
		t.Error("configs/greetd.schema.json is not what the code says: make schema writes it")
	}
}

func TestReferenceFileFollowsJSONSchema(t *testing.T) {
	validate := validator(t)
	for _, file := range []string{"../../configs/greetd.yaml", "../../deploy/kubernetes/greetd.yaml", "../../deploy/haproxy/greetd.yaml"} {
		if err := validate(read(t, file)); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// TestJSONSchemaAgreesWithCheck: what the schema refuses, greetd check refuses, and the other way round.
func TestJSONSchemaAgreesWithCheck(t *testing.T) {
	validate := validator(t)
	file := filepath.Join(t.TempDir(), "greetd.yaml")
	try := func(text string, good bool) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, check := config.Load(config.Source{Path: file})
		if schema := validate(text); (schema == nil) != good || (check == nil) != good {
			t.Errorf("%s\nwant good: %t\ncheck:  %v\nschema: %v", text, good, check, schema)
		}
	}
	for key, values := range map[string]struct{ good, bad string }{
		"greeting":                   {`"hi"|'{{.IP}}'|""|yes and no`, `1|true|[a]|{a: b}|`},
		"greeting_file":              {`/etc/greeting|greeting`, `1|[a]`},
		"timeouts.write":             {`5s|500ms|1m30s|1.5h|.5s|+3s|24h|1440m|86400s|023h59m|1.25h|1441ms|86401us`, `25h|+0100h|1441m1s|86401.5s|5|"5"|0s|0|-1s|5 s|5sec|s|.s|0.0ms|1d|[5s]`},
		"timeouts.linger":            {`0s|1s|0.0s`, `0|-1s|fast|null`},
		"limits.connections":         {`0|1|10000000`, `-1|10000001|1.5|"5"|many`},
		"limits.per_source.rate":     {`0|0.5|1000000|1e3`, `-1|1000001|"1"|.inf`},
		"limits.per_source.connects": {``, `1`},

		"limits.per_source.ipv4_prefix": {`1|32`, `0|33`},
		"limits.per_source.ipv6_prefix": {`1|128`, `0|129`},

		"access.deny": {
			`[]|[10.0.0.0/8]|[192.0.2.1]|["2001:db8::/32"]|["::1"]|["::ffff:192.0.2.1"]|["::/0", 0.0.0.0/0]`,
			`10.0.0.0/8|[10.0.0.256]|[10.0.0/8]|[10.0.0.0/33]|["2001:db8::/129"]|[unix]|[host.example]|[1]|[""]|[010.0.0.1]`,
		},
		"log.skip":              {`[192.0.2.10]`, `[all]`},
		"log.output":            {`auto|journald|syslog|stdout|stderr`, `file|""|Auto|1`},
		"log.level":             {`error|warn|warning|info|debug`, `trace|INFO`},
		"log.format":            {`text|json`, `xml`},
		"log.visits":            {`all|problems|none`, `some|no`},
		"log.rate":              {`0|1000000`, `1000001|fast`},
		"admin.address":         {`""|unix:/run/a.sock|":9180"|127.0.0.1:9180|"[::1]:9180"|localhost:http|a-b.c--d:1|"unix:/` + strings.Repeat("a", 106) + `"|"unix:/-a.-b-:c"|"[FE80::1%a-b]:1"|"[fe8::1]:1"`, `unix:@a|unix:a|unix:/run/|"unix:/` + strings.Repeat("a", 107) + `"|"-a:1"|a.-b:1|a-.b:1|"a-:1"|"[::1%lo]:1"|"[fe80::1]:1"|9180|off|http://a:1|127.0.0.1|":99999"|"::1:80"|vsock:1:2`},
		"admin.web_config_file": {`""`, `1|[a]`},
		"admin.port":            {``, `1`},
		"timeout":               {``, `5s`},
	} {
		section, name, nested := strings.Cut(key, ".")
		for good, list := range map[bool]string{true: values.good, false: values.bad} {
			for value := range strings.SplitSeq(list, "|") {
				switch {
				case value == "" && (good || key != "greeting"):
				case !nested:
					try(section+": "+value+"\n", good)
				default:
					sub, last, deeper := strings.Cut(name, ".")
					if !deeper {
						try(section+": {"+name+": "+value+"}\n", good)
						continue
					}
					try(section+": {"+sub+": {"+last+": "+value+"}}\n", good)
				}
			}
		}
	}
	for element, good := range map[string]bool{
		`{name: a, address: ":1"}`:                                       true,
		`{name: a, address: "[fe80::1%eth0]:1"}`:                         true,
		`{name: a, address: "greet.example:65535"}`:                      true,
		`{name: a, address: "0.0.0.0:0", reuse_port: true}`:              true,
		`{name: a, address: "unix:@greet"}`:                              true,
		`{name: a, address: "unix:/run/greet", mode: "0660", group: ab}`: true,
		`{name: a, address: "unix:/run/greet", mode: 0660}`:              true,
		`{name: a, address: "unix:/run/greet", mode: "00777"}`:           true,
		`{name: a, address: "unix:/run/greet", mode: "0o2"}`:             true,
		`{name: a, address: ":1", proxy_trusted: [10.0.0.0/8, unix]}`:    true,
		`{name: a, address: ":1", tls: {}}`:                              true,
		`{name: a, address: ":1", tls: {certificate: a, key: b}}`:        true,

		`{name: a}`:                                              false,
		`{address: ":1"}`:                                        false,
		`{name: "", address: ":1"}`:                              false,
		`{name: "a b", address: ":1"}`:                           false,
		`{name: a, address: ""}`:                                 false,
		`{name: a, address: 10000}`:                              false,
		`{name: a, address: "*:1"}`:                              false,
		`{name: a, address: "1.2.3:1"}`:                          false,
		`{name: a, address: "unix:"}`:                            false,
		`{name: a, address: "unix:@"}`:                           false,
		`{name: a, address: ":1", reuse_port: "yes"}`:            false,
		`{name: a, address: ":1", mode: "rw"}`:                   false,
		`{name: a, address: "unix:/a", mode: "0999"}`:            false,
		`{name: a, address: "unix:/a", mode: "1777"}`:            false,
		`{name: a, address: "unix:/a", mode: "0444"}`:            false,
		`{name: a, address: "unix:/a", mode: "66"}`:              false,
		`{name: a, address: ":1", proxy_trusted: all}`:           false,
		`{name: a, address: ":1", tls: {cert: a}}`:               false,
		`{name: a, address: ":1", connections: -1}`:              false,
		`{name: a, address: ":1", adr: ":2"}`:                    false,
		`{name: ` + strings.Repeat("a", 65) + `, address: ":1"}`: false,
		`a`: false,
	} {
		try("listeners: ["+element+"]\n", good)
	}
	try("listeners: []\n", false)
	try("- a\n", false)
	try("# defaults\n{}\n", true)
}

// TestJSONSchemaDescribesEachKey: the defaults are good values, and each key has a sentence.
func TestJSONSchemaDescribesEachKey(t *testing.T) {
	type node struct {
		Description string
		Default     any
		Properties  map[string]node
		Items       *node
		Extra       any `yaml:"additionalProperties"`
	}
	var root node
	if err := yaml.Unmarshal(config.JSONSchema(), &root); err != nil {
		t.Fatal(err)
	}
	validate := validator(t)
	var walk func(path []string, n node)
	walk = func(path []string, n node) {
		if n.Items != nil && n.Items.Properties != nil {
			n.Properties, n.Extra = n.Items.Properties, n.Items.Extra
		}
		if len(path) > 0 && !strings.HasSuffix(n.Description, ".") {
			t.Errorf("%s has no sentence: %q", strings.Join(path, "."), n.Description)
		}
		if n.Properties != nil && n.Extra != false {
			t.Errorf("%s may have any key", strings.Join(path, "."))
		}
		for name, child := range n.Properties {
			walk(append(slices.Clip(path), name), child)
		}
		if n.Default == nil || path[0] == "listeners" {
			return
		}
		value, err := yaml.Marshal(n.Default)
		if err != nil {
			t.Fatal(err)
		}
		text := strings.TrimSpace(string(value))
		if strings.ContainsAny(text, "\n|") {
			return // the greeting
		}
		for _, key := range slices.Backward(path) {
			text = "{" + key + ": " + text + "}"
		}
		if err := validate(text); err != nil {
			t.Errorf("the default %s: %v", text, err)
		}
	}
	walk(nil, root)
}
