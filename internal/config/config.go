// Package config reads the configuration of greetd from a YAML file and its drop-ins, the environment
// and the --listen flags. Keys that are not set have defaults. It is strict: an unknown key or a value
// that is not valid is a [Problem], with its place and its remedy, and all problems are reported at once.
// A [Config] is plain data; [Loaded] also has the origin of each value.
//
// configs/greetd.yaml explains each key, and when to change it.
package config

import (
	"fmt"
	"io/fs"
	"net/netip"
	"reflect"
	"time"
)

// Config is everything that an operator can set. Every field has a valid value after
// [Load]; lists without elements are nil.
type Config struct {
	Listeners    []Listener `mapstructure:"listeners"`     // at least one; names and addresses are unique
	Greeting     string     `mapstructure:"greeting"`      // a text/template, not parsed here
	GreetingFile string     `mapstructure:"greeting_file"` // file with the template, absolute or relative to $CREDENTIALS_DIRECTORY; "": Greeting is the template
	Timeouts     Timeouts   `mapstructure:"timeouts"`
	Limits       Limits     `mapstructure:"limits"`
	Access       Access     `mapstructure:"access"`
	Log          Log        `mapstructure:"log"`
	Admin        Admin      `mapstructure:"admin"`
}

// A Listener is one address to greet on.
type Listener struct {
	Name         string         `mapstructure:"name"`          // letters, digits, "-", "_" and "."; at most 64
	Address      string         `mapstructure:"address"`       // host:port, [v6]:port, unix:/path or unix:@name; the port may be a service name; port 0 is any free port
	ReusePort    bool           `mapstructure:"reuse_port"`    // SO_REUSEPORT, see socket(7); never on a unix address
	Connections  int            `mapstructure:"connections"`   // maximum number of visits at once; 0: only Limits.Connections applies
	ProxyTrusted []netip.Prefix `mapstructure:"proxy_trusted"` // peers that must send a PROXY header; the zero Prefix stands for the peers of a unix socket
	TLS          TLS            `mapstructure:"tls"`
	Mode         FileMode       `mapstructure:"mode"`  // of a unix socket's file, 0001 to 0777
	Group        string         `mapstructure:"group"` // of a unix socket's file, by name or number; "": the group of the service
}

// DefaultMode is the Mode of a Listener whose mode is not set.
const DefaultMode FileMode = 0o666

// A FileMode has the permission bits of the file of a socket.
type FileMode fs.FileMode

// String returns the mode as an octal number for chmod(1), such as 0666.
func (m FileMode) String() string { return fmt.Sprintf("%#04o", uint32(m)) }

// TLS names a certificate and its key, both PEM files, absolute or relative to
// $CREDENTIALS_DIRECTORY. Both are set, or both are empty: no TLS.
type TLS struct {
	Certificate string `mapstructure:"certificate"`
	Key         string `mapstructure:"key"`
}

// Timeouts are the time limits of a visit and of a shutdown. Each is at most 24 hours.
type Timeouts struct {
	Write     time.Duration `mapstructure:"write"`     // for the whole greeting; above 0
	Handshake time.Duration `mapstructure:"handshake"` // for PROXY header and TLS together; above 0
	Linger    time.Duration `mapstructure:"linger"`    // for the client to hang up first; 0: close at once
	LameDuck  time.Duration `mapstructure:"lameduck"`  // before the drain: still greeting, but not ready; 0: drain at once
	Drain     time.Duration `mapstructure:"drain"`     // for visits in progress when the daemon stops; 0: cut them at once
}

// Limits are limits on what clients can use.
type Limits struct {
	Connections int       `mapstructure:"connections"` // maximum number at once; 0: no limit
	PerSource   PerSource `mapstructure:"per_source"`
}

// PerSource has the limits of one source. A source is all addresses with the same prefix.
type PerSource struct {
	Connections int     `mapstructure:"connections"` // maximum number at once; 0: no limit
	Rate        float64 `mapstructure:"rate"`        // average number of visits a second; 0: no limit
	Burst       int     `mapstructure:"burst"`       // number of visits at once after a pause; 0: Rate rounded up
	IPv4Prefix  int     `mapstructure:"ipv4_prefix"` // 1 to 32 bits
	IPv6Prefix  int     `mapstructure:"ipv6_prefix"` // 1 to 128 bits
}

// Access says which clients are greeted. Deny has precedence over Allow; an empty Allow allows all
// clients. No prefix has host bits set, and no IPv4 prefix is in IPv4-mapped IPv6 form.
type Access struct {
	Allow []netip.Prefix `mapstructure:"allow"`
	Deny  []netip.Prefix `mapstructure:"deny"`
}

// Log says what is logged, where, and how much of it.
type Log struct {
	Output string `mapstructure:"output"` // auto, journald, syslog, stdout or stderr
	Level  string `mapstructure:"level"`  // error, warning (or warn), info or debug
	Format string `mapstructure:"format"` // text or json
	Visits string `mapstructure:"visits"` // all, problems or none
	Rate   int    `mapstructure:"rate"`   // average number of visits logged a second; 0: no limit
	Burst  int    `mapstructure:"burst"`  // number of visits logged at once after a pause; above 0 if Rate is above 0

	Skip []netip.Prefix `mapstructure:"skip"` // clients whose visits are not logged
}

// Admin has the address of the admin endpoints, and their protection.
type Admin struct {
	Address string `mapstructure:"address"` // in the form of a Listener's Address, but not unix:@name; "": unix:$RUNTIME_DIRECTORY/admin.sock under systemd, else off

	WebConfigFile string `mapstructure:"web_config_file"` // a file of exporter-toolkit with TLS and passwords, for a TCP Address; absolute or relative to $CREDENTIALS_DIRECTORY; "": plain HTTP without a password
}

// Default returns the configuration without a file, environment variables and flags.
func Default() Config {
	return Config{
		Listeners: []Listener{{Name: "greet", Address: ":10000", Mode: DefaultMode}},
		Greeting:  "Hello there, {{.IP}}!\n",
		Timeouts: Timeouts{
			Write:     5 * time.Second,
			Handshake: 3 * time.Second,
			Linger:    1 * time.Second,
			Drain:     10 * time.Second,
		},
		Limits: Limits{
			Connections: 10000,
			PerSource:   PerSource{IPv4Prefix: 32, IPv6Prefix: 64},
		},
		Log: Log{Output: "auto", Level: "info", Format: "text", Visits: "all", Rate: 300, Burst: 1000},
	}
}

// Differences returns the keys whose values differ between c and other, in the order of the reference
// file. All differences in the list of listeners are reported as one key, listeners.
func (c Config) Differences(other Config) []string {
	return differences(reflect.ValueOf(c), reflect.ValueOf(other), "")
}

func differences(a, b reflect.Value, section string) []string {
	var keys []string
	for i := range a.NumField() {
		key := join(section, a.Type().Field(i).Tag.Get("mapstructure"))
		switch {
		case a.Field(i).Kind() == reflect.Struct:
			keys = append(keys, differences(a.Field(i), b.Field(i), key)...)
		case !reflect.DeepEqual(a.Field(i).Interface(), b.Field(i).Interface()):
			keys = append(keys, key)
		}
	}
	return keys
}
