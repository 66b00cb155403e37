package config

import (
	"iter"
	"strings"

	"greetd.example/internal/words"
)

// A field is a key of the configuration and what may stand there.
type field struct {
	name   string
	fields []field // the keys of a section; nil for a value
	many   bool    // a list of such sections or values
	rule   rule    // of a value

	required bool // where its section is given
	names    bool // its section, so that drop-ins need nothing else of what is required
}

// schema is the whole configuration, in the order in which it is documented and shown.
var schema = field{fields: []field{
	{name: "listeners", many: true, fields: []field{
		{name: "name", rule: listenerName, required: true, names: true},
		{name: "address", rule: listenAddress, required: true},
		{name: "reuse_port", rule: boolean},
		{name: "connections", rule: integer(0, 10_000_000)},
		{name: "proxy_trusted", many: true, rule: peers},
		{name: "tls", fields: []field{
			{name: "certificate", rule: filePath},
			{name: "key", rule: filePath},
		}},
		{name: "mode", rule: fileMode},
		{name: "group", rule: groupName},
	}},
	{name: "greeting", rule: anyText},
	{name: "greeting_file", rule: filePath},
	{name: "timeouts", fields: []field{
		{name: "write", rule: duration(above0)},
		{name: "handshake", rule: duration(above0)},
		{name: "linger", rule: duration(from0)},
		{name: "lameduck", rule: duration(from0)},
		{name: "drain", rule: duration(from0)},
	}},
	{name: "limits", fields: []field{
		{name: "connections", rule: integer(0, 10_000_000)},
		{name: "per_source", fields: []field{
			{name: "connections", rule: integer(0, 10_000_000)},
			{name: "rate", rule: decimal(0, 1_000_000)},
			{name: "burst", rule: integer(0, 10_000_000)},
			{name: "ipv4_prefix", rule: integer(1, 32)},
			{name: "ipv6_prefix", rule: integer(1, 128)},
		}},
	}},
	{name: "access", fields: []field{
		{name: "allow", many: true, rule: prefixes},
		{name: "deny", many: true, rule: prefixes},
	}},
	{name: "log", fields: []field{
		{name: "output", rule: oneOf("auto", "journald", "syslog", "stdout", "stderr")},
		{name: "level", rule: oneOf("error", "warning", "warn", "info", "debug")},
		{name: "format", rule: oneOf("text", "json")},
		{name: "visits", rule: oneOf("all", "problems", "none")},
		{name: "rate", rule: integer(0, 1_000_000)},
		{name: "burst", rule: integer(0, 10_000_000)},
		{name: "skip", many: true, rule: prefixes},
	}},
	{name: "admin", fields: []field{
		{name: "address", rule: adminAddress},
		{name: "web_config_file", rule: filePath},
	}},
}}

// values are the values below f and their keys with dots, in the order of the schema.
// The keys in a list of sections are named as those of its elements: "listeners[].name".
func (f field) values() iter.Seq2[string, field] {
	return func(yield func(string, field) bool) { f.walk("", yield) }
}

func (f field) walk(prefix string, yield func(string, field) bool) bool {
	for _, child := range f.fields {
		key := join(prefix, child.name)
		if child.fields == nil {
			if !yield(key, child) {
				return false
			}
			continue
		}
		if child.many {
			key += "[]"
		}
		if !child.walk(key, yield) {
			return false
		}
	}
	return true
}

// child is the field of that name directly below f.
func (f field) child(name string) (field, bool) {
	for _, child := range f.fields {
		if child.name == name {
			return child, true
		}
	}
	return field{}, false
}

// unknown says what may have been meant by name, which is none of f's fields.
func (f field) unknown(name string) string {
	names := make([]string, len(f.fields))
	for i, child := range f.fields {
		names[i] = child.name
	}
	if near := words.Nearest(name, names); near != "" {
		return "is not known here: did you mean " + near + "?"
	}
	var elsewhere []string
	for key := range schema.values() {
		if strings.HasSuffix(key, "."+name) {
			elsewhere = append(elsewhere, key)
		}
	}
	if len(elsewhere) > 0 {
		return "is not known here: did you mean " + strings.Join(elsewhere, " or ") + "?"
	}
	return "is not known here: there are " + strings.Join(names, ", ")
}

func join(prefix, name string) string {
	if prefix == "" {
		return name
	}
	return prefix + "." + name
}
