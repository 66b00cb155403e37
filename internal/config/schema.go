package config

import (
	"iter"
	"strings"

	"greetd.example/internal/words"
)

// A field is a key of the configuration and what may stand there.
type field struct {
	name   string
	doc    string  // what it is for, in a sentence
	fields []field // the keys of a section; nil for a value
	many   bool    // a list of such sections or values
	rule   rule    // of a value

	required bool // where its section is given
	names    bool // its section, so that drop-ins need nothing else of what is required
}

// schema is the whole configuration, in the order in which it is documented and shown.
var schema = field{fields: []field{
	{name: "listeners", doc: "Where greetd greets, each with a name and an address. A drop-in may leave out the address of a listener that a file before has.", many: true, fields: []field{
		{name: "name", doc: "In the log, the metrics and `FileDescriptorName=` of a socket unit. Letters, digits, \"-\", \"_\" and \".\".", rule: listenerName, required: true, names: true},
		{name: "address", doc: "host:port, [v6]:port, :port, unix:/path or unix:@name; port 0 takes any free one. A socket unit with this name wins.", rule: listenAddress, required: true},
		{name: "reuse_port", doc: "SO_REUSEPORT of socket(7), so that several daemons share the port.", rule: boolean},
		{name: "connections", doc: "At most this many visits at once on this listener; 0: limits.connections alone.", rule: integer(0, 10_000_000)},
		{name: "proxy_trusted", doc: "Load balancers that must send a PROXY header, version 1 or 2: prefixes, or unix for the peers of a unix socket.", many: true, rule: peers},
		{name: "tls", doc: "TLS, if both files are set. Renewed files are followed.", fields: []field{
			{name: "certificate", doc: "The chain as PEM, the server's own certificate first: an absolute path, or the name of a credential.", rule: filePath},
			{name: "key", doc: "Its private key as PEM: an absolute path, or the name of a credential.", rule: filePath},
		}},
		{name: "mode", doc: "The permissions of a unix socket's file, in octal digits.", rule: fileMode},
		{name: "group", doc: `The group of a unix socket's file; "": that of the service.`, rule: groupName},
	}},
	{name: "greeting", doc: "What clients get: a template of Go with .IP, .Port, .Listener, .LocalIP, .LocalPort, .Hostname, .Time, .Visit and .Proxy.", rule: anyText},
	{name: "greeting_file", doc: "A file with the template instead of greeting: an absolute path, or the name of a credential.", rule: filePath},
	{name: "timeouts", doc: "Durations with a unit, at most 24h.", fields: []field{
		{name: "write", doc: "For the whole greeting; slower readers are timed_out.", rule: duration(above0)},
		{name: "handshake", doc: "For PROXY header and TLS together.", rule: duration(above0)},
		{name: "linger", doc: "For the client to hang up first after the greeting; 0s: close at once.", rule: duration(from0)},
		{name: "lameduck", doc: "After SIGTERM, greet on for this time while /readyz fails; 0s: drain at once.", rule: duration(from0)},
		{name: "drain", doc: "For visits under way at a stop, then they are cut; 0s: cut at once.", rule: duration(from0)},
	}},
	{name: "limits", doc: "What clients can use.", fields: []field{
		{name: "connections", doc: "At most this many visits at once; 0: no limit.", rule: integer(0, 10_000_000)},
		{name: "per_source", doc: "Limits of one source: all addresses with the same prefix.", fields: []field{
			{name: "connections", doc: "Visits of one source at once; 0: no limit.", rule: integer(0, 10_000_000)},
			{name: "rate", doc: "Visits of one source a second in the long run; 0: no limit.", rule: decimal(0, 1_000_000)},
			{name: "burst", doc: "Visits of one source at once after a pause; 0: rate, rounded up.", rule: integer(0, 10_000_000)},
			{name: "ipv4_prefix", doc: "How many bits of an IPv4 address make a source.", rule: integer(1, 32)},
			{name: "ipv6_prefix", doc: "How many bits of an IPv6 address make a source.", rule: integer(1, 128)},
		}},
	}},
	{name: "access", doc: "Who is greeted. deny wins.", fields: []field{
		{name: "allow", doc: "Prefixes of clients that are greeted; none: all are.", many: true, rule: prefixes},
		{name: "deny", doc: "Prefixes of clients that are refused.", many: true, rule: prefixes},
	}},
	{name: "log", doc: "What is logged, where, and how much of it.", fields: []field{
		{name: "output", doc: "auto: the journal under systemd, else stderr.", rule: oneOf("auto", "journald", "syslog", "stdout", "stderr")},
		{name: "level", doc: "The least level that is logged.", rule: oneOf("error", "warning", "warn", "info", "debug")},
		{name: "format", doc: "Of lines on stdout and stderr.", rule: oneOf("text", "json")},
		{name: "visits", doc: "problems: all but greeted ones.", rule: oneOf("all", "problems", "none")},
		{name: "rate", doc: "Visits logged a second, the rest as a summary; 0: no limit.", rule: integer(0, 1_000_000)},
		{name: "burst", doc: "Visits logged at once after a pause.", rule: integer(0, 10_000_000)},
		{name: "skip", doc: "Prefixes of clients whose visits are not logged, such as health checks.", many: true, rule: prefixes},
	}},
	{name: "admin", doc: "Status, reload, log level and metrics over HTTP.", fields: []field{
		{name: "address", doc: `unix:/path or host:port, where nothing can be changed; "": unix:$RUNTIME_DIRECTORY/admin.sock under systemd, else off.`, rule: adminAddress},
		{name: "web_config_file", doc: "TLS and passwords for a TCP address: web.config.file of Prometheus's exporters. An absolute path, or the name of a credential.", rule: filePath},
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
