package config

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/go-viper/mapstructure/v2"
	"github.com/spf13/viper"
)

// DefaultPath is the file that is read if none is named and this one exists.
const DefaultPath = "/etc/greetd/greetd.yaml"

// A Source says where to look. Flags win over the environment, that wins over the
// file, and that over the defaults. The zero Source is DefaultPath and the defaults.
type Source struct {
	Path    string   // of the file (--config); "": $GREETD_CONFIG, else DefaultPath if it exists, else no file
	Environ []string // as from os.Environ
	Listen  []string // addresses (--listen) that replace the list of listeners; none: they don't

	// Check, if not nil, tells what else is wrong with a value, such as a template that
	// does not parse. It sees every configuration, with defaults for what is wrong
	// already, so that all problems are told at once.
	Check func(c Config, wrong func(key string, err error))
}

// Loaded is a valid configuration, and where it came from.
type Loaded struct {
	Config
	Path string // of the file that was read; "" if none was

	origins origins
}

// Load reads and checks the configuration from s. Its error is every [Problem] at
// once: first those of the file, by line, then those of the environment and of the
// flags. The Loaded is of use only without an error.
func Load(s Source) (Loaded, error) { return load(s, DefaultPath) }

func load(s Source, defaultPath string) (Loaded, error) {
	var found problems
	l := Loaded{origins: make(origins)}
	vars := ours(s.Environ)
	v := viper.New()

	for key, value := range asMap(Default()) {
		v.SetDefault(key, value)
	}

	l.Path = s.path(vars, defaultPath)
	if l.Path != "" {
		r := fileReader{path: l.Path, origins: l.origins, problems: &found}
		if err := v.MergeConfigMap(r.read()); err != nil {
			return Loaded{}, fmt.Errorf("merge configuration: %w", err)
		}
	}
	readEnv(vars, &found, func(key string, value any, from origin) {
		v.Set(key, value)
		l.origins.set(key, from)
	})
	if addresses, set := vars[envListen]; set {
		v.Set("listeners", listenersAt(splitList(addresses), environment(envListen), l.origins, &found))
	}
	if len(s.Listen) > 0 {
		v.Set("listeners", listenersAt(s.Listen, fromFlag, l.origins, &found))
	}

	exactly := func(c *mapstructure.DecoderConfig) { c.WeaklyTypedInput, c.DecodeHook = false, nil }
	if err := v.UnmarshalExact(&l.Config, exactly); err != nil {
		return Loaded{}, fmt.Errorf("decode configuration: %w", err)
	}
	dropEmptyLists(&l.Config)
	l.conflicts(func(key, reason string) { found.add(l.nearestOrigin(key), key, "%s", reason) })
	if s.Check != nil {
		s.Check(l.Config, func(key string, err error) { found.add(l.nearestOrigin(key), key, "%v", err) })
	}
	if err := found.err(l.Path); err != nil {
		return Loaded{}, err
	}
	return l, nil
}

// path is that of the file to read, "" for none.
func (s Source) path(vars map[string]string, defaultPath string) string {
	if path := cmp.Or(s.Path, vars[envConfig]); path != "" {
		return path
	}
	if _, err := os.Stat(defaultPath); errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	return defaultPath
}

// asMap is c as nested maps by key.
func asMap(c Config) map[string]any {
	m := make(map[string]any)
	if err := mapstructure.Decode(c, &m); err != nil {
		panic(err) // only if Config can't be decoded at all
	}
	return m
}
