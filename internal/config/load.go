package config

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-viper/mapstructure/v2"
	"github.com/spf13/pflag"
	"github.com/spf13/viper"
)

// DefaultPath is the file that is read if none is named and this one exists.
const DefaultPath = "/etc/greetd/greetd.yaml"

// A Source says where to look for the configuration. Flags have precedence over the environment, the
// environment over the file with its drop-ins, and the file over the defaults. The zero Source is
// DefaultPath, the environment and the defaults.
type Source struct {
	Path   string      // of the file (--config); "": $GREETD_CONFIG, else DefaultPath if it exists, else no file
	Listen *pflag.Flag // --listen, a list of addresses that replaces the list of listeners; ignored if nil or not changed

	// Check, if not nil, reports further problems of values, such as a template that does not parse. It
	// is called for every configuration, so that all problems are reported at once; values that are
	// already known to be wrong have their defaults in c.
	Check func(c Config, wrong func(key string, err error))
}

// Loaded is a valid configuration with the origin of each value.
type Loaded struct {
	Config
	Path    string   // of the file that was read; "" if none was
	DropIns []string // the files in Path.d that were read, in the order in which they were merged

	origins origins
}

// Load reads and checks the configuration from s. Its error joins every [Problem]: first those of the
// files, by line, then those of the environment and of the flags. If there is an error, Loaded has the
// valid values, and defaults for the others. This is enough to find a running daemon, but a daemon must
// not run with it.
func Load(s Source) (Loaded, error) { return load(s, DefaultPath) }

func load(s Source, defaultPath string) (Loaded, error) {
	var found problems
	v := viper.New()
	v.AllowEmptyEnv(true)
	defaults := make(map[string]any)
	if err := errors.Join(mapstructure.Decode(Default(), &defaults), bind(v, s.Listen)); err != nil {
		return Loaded{}, err
	}
	for key, value := range defaults {
		v.SetDefault(key, value)
	}

	l, err := readFiles(v, cmp.Or(s.Path, v.GetString(configKey)), defaultPath, &found)
	if err != nil {
		return Loaded{}, err
	}
	for key, variable := range checkEnv(&found) {
		if err := v.BindEnv(key, variable); err != nil {
			return Loaded{}, fmt.Errorf("bind %s: %w", variable, err)
		}
		l.origins.set(key, environment(variable))
	}
	if v.IsSet(listenKey) {
		addresses, from := listenAddresses(v, s.Listen)
		l.origins.set("listeners", from)
		v.Set("listeners", listenersAt(addresses, from, &found).plain("listeners", l.origins))
	}

	decoded := struct {
		*Config `mapstructure:",squash"`

		File   string `mapstructure:"config"`
		Listen any    `mapstructure:"listen"`
	}{Config: &l.Config}
	if err := v.UnmarshalExact(&decoded, viper.DecodeHook(fromText)); err != nil {
		return Loaded{}, fmt.Errorf("decode configuration: %w", err)
	}
	for i := range l.Listeners {
		l.Listeners[i].Mode = cmp.Or(l.Listeners[i].Mode, DefaultMode)
	}
	keepLaterGreeting(&l)
	l.conflicts(func(key, reason string) { found.add(l.nearestOrigin(key), key, "%s", reason) })
	if s.Check != nil {
		s.Check(l.Config, func(key string, err error) { found.add(l.nearestOrigin(key), key, "%v", err) })
	}
	return l, found.err(l.Files())
}

// keepLaterGreeting drops one of greeting and greeting_file if both are set: the one from the earlier file, or from a
// file while the other is in the environment. If both are from the same file, or both from the environment, it keeps
// them, and that is a conflict.
func keepLaterGreeting(l *Loaded) {
	sources := l.Files() // in the order of precedence; the environment is in none of them
	rank := func(key string) int {
		i := slices.Index(sources, l.origin(key).from)
		if i < 0 {
			return len(sources)
		}
		return i
	}
	if l.GreetingFile == "" || !l.IsSet("greeting") {
		return
	}
	switch text, file := rank("greeting"), rank("greeting_file"); {
	case text > file:
		l.GreetingFile = ""
		delete(l.origins, "greeting_file")
	case file > text:
		l.Greeting = Default().Greeting
		delete(l.origins, "greeting")
	}
}

// readFiles merges into v the values of the file, and then those of its drop-ins in lexical order. The
// file is named, or the one at defaultPath if named is "". It returns the paths of these files, and the
// origins of their values.
func readFiles(v *viper.Viper, named, defaultPath string, found *problems) (Loaded, error) {
	l := Loaded{Path: filePathOf(named, defaultPath), origins: make(origins)}
	l.DropIns = dropIns(cmp.Or(l.Path, defaultPath), found)
	merged := &value{fields: make(map[string]*value)}
	for _, path := range l.Files() {
		r := fileReader{path: path, dropIn: path != l.Path, problems: found}
		content := r.read()
		if own := content.fields["listeners"]; own != nil && !own.wrong {
			r.mergeListeners(merged.fields["listeners"], own)
		}
		merged.merge(content)
	}
	if err := v.MergeConfigMap(merged.plain("", l.origins).(map[string]any)); err != nil {
		return Loaded{}, fmt.Errorf("merge configuration: %w", err)
	}
	return l, nil
}

// Keys of viper that are not keys of the file.
const (
	configKey = "config" // path of the file
	listenKey = "listen" // addresses that replace the list of listeners
)

// bind binds configKey and listenKey to their variables, and listenKey to its flag.
func bind(v *viper.Viper, listen *pflag.Flag) error {
	err := errors.Join(v.BindEnv(configKey, EnvConfig), v.BindEnv(listenKey, envListen))
	if listen != nil && listen.Changed {
		err = errors.Join(err, v.BindPFlag(listenKey, listen))
	}
	if err != nil {
		return fmt.Errorf("bind environment and flags: %w", err)
	}
	return nil
}

// listenAddresses returns the addresses of --listen or of GREETD_LISTEN, and their origin. It does not
// let viper read the flag: viper reads it as CSV, and loses empty addresses and quotation marks.
func listenAddresses(v *viper.Viper, flag *pflag.Flag) ([]string, origin) {
	if flag != nil && flag.Changed {
		return flag.Value.(pflag.SliceValue).GetSlice(), fromFlag
	}
	return splitList(v.GetString(listenKey)), environment(envListen)
}

// filePathOf returns the path of the file to read: named if it is not "", else defaultPath if this file
// exists, else "".
func filePathOf(named, defaultPath string) string {
	if named != "" {
		return named
	}
	if _, err := os.Lstat(defaultPath); errors.Is(err, fs.ErrNotExist) { // a link without a target exists here, and reading it fails
		return ""
	}
	return defaultPath
}

// fromText is a mapstructure.DecodeHookFunc. It converts the values of the file and of the environment
// from text. The rules of the schema have already checked them.
func fromText(_, to reflect.Type, data any) (any, error) {
	text, ok := data.(string)
	if !ok {
		return data, nil
	}
	switch to {
	case reflect.TypeFor[time.Duration]():
		return time.ParseDuration(text)
	case reflect.TypeFor[netip.Prefix]():
		return parsePeers(text) // the rule has refused "unix" where it is not allowed
	case reflect.TypeFor[FileMode]():
		return parseMode(text)
	case reflect.TypeFor[[]netip.Prefix]():
		return splitList(text), nil
	}
	switch to.Kind() {
	case reflect.Bool:
		return strings.EqualFold(text, "true"), nil
	case reflect.Int:
		return strconv.Atoi(text)
	case reflect.Float64:
		return strconv.ParseFloat(text, 64)
	}
	return data, nil
}
