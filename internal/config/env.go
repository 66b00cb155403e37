package config

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"greetd.example/internal/words"
)

const (
	envPrefix = "GREETD_"
	envListen = "GREETD_LISTEN" // the addresses to listen on

	// EnvConfig is the variable that names the file to read.
	EnvConfig = "GREETD_CONFIG"

	// EnvBusName is the variable with the name that the daemon asks D-Bus for, so that
	// systemctl service-log-level finds it. It belongs into a unit, beside BusName=.
	EnvBusName = "GREETD_BUS_NAME"
)

// notKeys are the variables that set no key.
var notKeys = []string{EnvConfig, envListen, EnvBusName}

// envValues maps each variable that sets one key to its field and that key.
var envValues = sync.OnceValue(func() map[string]envValue {
	all := make(map[string]envValue)
	for key, f := range schema.values() {
		if !strings.Contains(key, "[]") {
			all[envPrefix+strings.ToUpper(strings.ReplaceAll(key, ".", "_"))] = envValue{key, f}
		}
	}
	return all
})

type envValue struct {
	key   string
	field field
}

// foreign matches what Kubernetes and Docker put into every container beside a
// service that is named greetd or greetd-something.
var foreign = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^GREETD_(\w+_)?(SERVICE_HOST=|SERVICE_PORT(_\w+)?=|PORT=\w+://|PORT_\d+_(TCP|UDP|SCTP)(_PROTO|_PORT|_ADDR)?=)`)
})

// ours maps the names of greetd's variables in environ to their values. As for
// getenv(3), the first of two counts.
func ours(environ []string) map[string]string {
	vars := make(map[string]string)
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		if _, again := vars[name]; !again && strings.HasPrefix(name, envPrefix) && !foreign().MatchString(e) {
			vars[name] = value
		}
	}
	return vars
}

// checkEnv returns the variables that set a key and are valid, by key.
func checkEnv(problems *problems) map[string]string {
	vars := ours(os.Environ())
	valid := make(map[string]string)
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		if slices.Contains(notKeys, name) {
			continue
		}
		known, ok := envValues()[name]
		if !ok {
			problems.add(environment(plain(name)), "", "%s", unknownVariable(name))
			continue
		}
		if err := checkVariable(vars[name], known.field); err != nil {
			problems.add(environment(name), known.key, "%s", err)
			continue
		}
		valid[known.key] = name
	}
	return valid
}

func unknownVariable(name string) string {
	names := append(slices.Sorted(maps.Keys(envValues())), notKeys...)
	if near := words.Nearest(strings.TrimPrefix(name, envPrefix), trimmed(names)); near != "" {
		return "is not known: did you mean " + envPrefix + near + "? Else unset it"
	}
	return "is not known: unset it, or see `greetd config` for the keys"
}

func trimmed(names []string) []string {
	for i, name := range names {
		names[i] = strings.TrimPrefix(name, envPrefix)
	}
	return names
}

func checkVariable(s string, f field) error {
	if !f.many {
		return checkText(s, f.rule)
	}
	var errs []string
	for _, element := range splitList(s) {
		if err := checkText(element, f.rule); err != nil {
			errs = append(errs, err.Error())
		}
	}
	if errs != nil {
		return errors.New(strings.Join(errs, "; "))
	}
	return nil
}

// splitList is what commas separate in s, without the blanks around; nil if s is blank.
func splitList(s string) []string {
	if strings.TrimSpace(s) == "" {
		return nil
	}
	list := strings.Split(s, ",")
	for i := range list {
		list[i] = strings.TrimSpace(list[i])
	}
	return list
}

// checkText holds s, which was not written in YAML, against a rule.
func checkText(s string, want rule) error {
	if !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
		return fmt.Errorf("must be UTF-8 without NUL, not %s", words.Quote(s))
	}
	switch err := want.check(s); {
	case errors.Is(err, errWanted):
		return fmt.Errorf("must be %s, not %s", want.want, words.Quote(s))
	case err != nil:
		return fmt.Errorf("%s %w", words.Quote(s), err)
	}
	return nil
}

// listenersAt are listeners on the addresses, to replace all others. The first is
// named greet, the others greet-2 and so on.
func listenersAt(addresses []string, from origin, origins origins, problems *problems) []any {
	origins.set("listeners", from)
	list := []any{}
	for i, s := range addresses {
		key := fmt.Sprintf("listeners[%d]", i)
		listener := map[string]any{"name": "greet"}
		if i > 0 {
			listener["name"] = fmt.Sprintf("greet-%d", i+1)
		}
		if err := checkText(s, listenAddress); err != nil {
			problems.add(from, key+".address", "%s", err)
		} else {
			listener["address"] = s
		}
		origins[key], origins[key+".name"], origins[key+".address"] = from, from, from
		list = append(list, listener)
	}
	if len(list) == 0 || len(list) > mostSections {
		problems.add(from, "listeners", "must have from 1 to %d addresses, not %d: give some, or unset it", mostSections, len(list))
		return list[:0]
	}
	return list
}
