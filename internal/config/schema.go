package config

import (
	"strings"

	"greetd.example/internal/words"
)

// A field is a key of the configuration with the rule for its values.
type field struct {
	name   string
	doc    string  // its purpose, in a sentence
	fields []field // the keys of a section; nil for a value
	many   bool    // it is a list of such sections or values
	rule   rule    // for a value

	required bool // in each section of this kind
	isName   bool // it is the name of its section: a drop-in with this key may omit other required keys
}

// schema is the whole configuration, in the order in which it is documented and shown.
var schema = field{fields: []field{
	{name: "listeners", doc: "The listeners, each with a name and an address. A drop-in may omit the address of a listener that an earlier file has.", many: true, fields: []field{
		{name: "name", doc: "The name in the log and in metrics, and the `FileDescriptorName=` of a socket unit. Letters, digits, \"-\", \"_\" and \".\".", rule: listenerName, required: true, isName: true},
		{name: "address", doc: "host:port, [v6]:port, :port, unix:/path or unix:@name; port 0 is any free port. If a socket unit has this name, its address is used.", rule: listenAddress, required: true},
		{name: "reuse_port", doc: "Set SO_REUSEPORT (socket(7)), so that several processes can share the address.", rule: boolean},
		{name: "connections", doc: "Maximum number of visits at once on this listener; 0: only limits.connections applies.", rule: integer(0, 10_000_000)},
		{name: "proxy_trusted", doc: "Load balancers that must send a PROXY header, version 1 or 2: prefixes, or unix for the peers of a unix socket.", many: true, rule: peers},
		{name: "tls", doc: "TLS is required if both files are set. Renewed files are served without a reload.", fields: []field{
			{name: "certificate", doc: "The chain as PEM, the server's own certificate first: an absolute path, or the name of a credential.", rule: filePath},
			{name: "key", doc: "Its private key as PEM: an absolute path, or the name of a credential.", rule: filePath},
		}},
		{name: "mode", doc: "The permissions of a unix socket's file, in octal digits.", rule: fileMode},
		{name: "group", doc: `The group of a unix socket's file; "": that of the service.`, rule: groupName},
	}},
	{name: "greeting", doc: "The text that clients get: a Go template with .IP, .Port, .Listener, .LocalIP, .LocalPort, .Hostname, .Time, .Visit and .Proxy.", rule: anyText},
	{name: "greeting_file", doc: "A file with the template instead of greeting: an absolute path, or the name of a credential.", rule: filePath},
	{name: "timeouts", doc: "Durations with a unit, at most 24h.", fields: []field{
		{name: "write", doc: "Maximum time for sending the whole greeting; slower clients are counted as timed_out.", rule: duration(above0)},
		{name: "handshake", doc: "Maximum time for the PROXY header and the TLS handshake together.", rule: duration(above0)},
		{name: "linger", doc: "Maximum time to wait, after the greeting, for the client to hang up; 0s: close at once.", rule: duration(from0)},
		{name: "lameduck", doc: "After SIGTERM, continue greeting for this time while /readyz fails; 0s: drain at once.", rule: duration(from0)},
		{name: "drain", doc: "Maximum time to wait for visits in progress when greetd shuts down; 0s: cut them at once.", rule: duration(from0)},
	}},
	{name: "limits", doc: "Limits on what clients can use.", fields: []field{
		{name: "connections", doc: "Maximum number of connections at once; 0: no limit.", rule: integer(0, 10_000_000)},
		{name: "per_source", doc: "Limits of one source: all addresses with the same prefix.", fields: []field{
			{name: "connections", doc: "Maximum number of connections of one source at once; 0: no limit.", rule: integer(0, 10_000_000)},
			{name: "rate", doc: "Average number of visits of one source a second; 0: no limit.", rule: decimal(0, 1_000_000)},
			{name: "burst", doc: "Number of visits of one source at once after a pause; 0: rate, rounded up.", rule: integer(0, 10_000_000)},
			{name: "ipv4_prefix", doc: "Number of bits of an IPv4 address that identify a source.", rule: integer(1, 32)},
			{name: "ipv6_prefix", doc: "Number of bits of an IPv6 address that identify a source.", rule: integer(1, 128)},
		}},
	}},
	{name: "access", doc: "Which clients are greeted. deny has precedence over allow.", fields: []field{
		{name: "allow", doc: "Prefixes of clients that are greeted; empty: all clients are greeted.", many: true, rule: prefixes},
		{name: "deny", doc: "Prefixes of clients that are refused.", many: true, rule: prefixes},
	}},
	{name: "log", doc: "What is logged, where, and how much of it.", fields: []field{
		{name: "output", doc: "auto: the journal under systemd, else stderr.", rule: oneOf("auto", "journald", "syslog", "stdout", "stderr")},
		{name: "level", doc: "The lowest level that is logged.", rule: oneOf("error", "warning", "warn", "info", "debug")},
		{name: "format", doc: "Format of entries on stdout and stderr, and of those to syslog.", rule: oneOf("text", "json")},
		{name: "visits", doc: "Which visits are logged; problems: visits that were not greeted.", rule: oneOf("all", "problems", "none")},
		{name: "rate", doc: "Average number of visits that are logged a second; summaries count the rest; 0: no limit.", rule: integer(0, 1_000_000)},
		{name: "burst", doc: "Number of visits that are logged at once after a pause.", rule: integer(0, 10_000_000)},
		{name: "skip", doc: "Prefixes of clients whose visits are not logged, such as health checks.", many: true, rule: prefixes},
	}},
	{name: "admin", doc: "Status, reload, log level and metrics over HTTP.", fields: []field{
		{name: "address", doc: `unix:/path or host:port, where nothing can be changed; "": unix:$RUNTIME_DIRECTORY/admin.sock under systemd, else off.`, rule: adminAddress},
		{name: "web_config_file", doc: "TLS and passwords for a TCP address: web.config.file of Prometheus's exporters. An absolute path, or the name of a credential.", rule: filePath},
	}},
}}

// A keyed is a field that is a value, with its key. A key in a list of sections has [] after the key of the list:
// "listeners[].name".
type keyed struct {
	key string
	field
}

// values returns the values below f, which has the key prefix, in the order of the schema.
func (f field) values(prefix string) (all []keyed) {
	for _, child := range f.fields {
		key := join(prefix, child.name)
		if child.many && child.fields != nil {
			key += "[]"
		}
		if child.fields == nil {
			all = append(all, keyed{key, child})
		}
		all = append(all, child.values(key)...)
	}
	return all
}

func (f field) child(name string) (field, bool) {
	for _, child := range f.fields {
		if child.name == name {
			return child, true
		}
	}
	return field{}, false
}

func (f field) names() []string {
	names := make([]string, len(f.fields))
	for i, child := range f.fields {
		names[i] = child.name
	}
	return names
}

// unknown returns a reason for a Problem with name, which is not a field of f. It suggests the key that
// was probably meant.
func (f field) unknown(name string) string {
	names := f.names()
	if near := words.Nearest(name, names); near != "" {
		return "is not known here: did you mean " + near + "?"
	}
	var elsewhere []string
	for _, value := range schema.values("") {
		if strings.HasSuffix(value.key, "."+name) {
			elsewhere = append(elsewhere, value.key)
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
