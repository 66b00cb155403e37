package config

import (
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

	// EnvConfig is the variable with the path of the file to read.
	EnvConfig = "GREETD_CONFIG"

	// EnvBusName is the variable with the name that the daemon requests on D-Bus, so that systemctl
	// service-log-level finds it. Set it in a unit, together with BusName=.
	EnvBusName = "GREETD_BUS_NAME"
)

// notKeys are the variables that do not set a key of the configuration.
var notKeys = []string{EnvConfig, envListen, EnvBusName}

// envValues returns, for each variable that sets a key, this key and its field.
var envValues = sync.OnceValue(func() map[string]keyed {
	all := make(map[string]keyed)
	for _, value := range schema.values("") {
		if !strings.Contains(value.key, "[]") {
			all[envPrefix+strings.ToUpper(strings.ReplaceAll(value.key, ".", "_"))] = value
		}
	}
	return all
})

// foreign matches the variables that Kubernetes and Docker set in other containers, if a service is
// named greetd or greetd-something. They have our prefix, but do not belong to us.
var foreign = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^GREETD_(\w+_)?(SERVICE_HOST=|SERVICE_PORT(_\w+)?=|PORT=\w+://|PORT_\d+_(TCP|UDP|SCTP)(_PROTO|_PORT|_ADDR)?=)`)
})

// ours returns the variables of greetd in environ by name. If a name is there twice, the first one
// counts, as with getenv(3).
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

// checkEnv returns the names of the valid variables that set a key, by this key. It adds the others to
// problems.
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
		if reason := checkVariable(vars[name], known.field); reason != "" {
			problems.add(environment(name), known.key, "%s", reason)
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

// checkVariable returns the reasons why s is not valid for f; "" if it is.
func checkVariable(s string, f field) string {
	if !f.many {
		return checkText(s, f.rule)
	}
	var reasons []string
	for _, element := range splitList(s) {
		if reason := checkText(element, f.rule); reason != "" {
			reasons = append(reasons, reason)
		}
	}
	return strings.Join(reasons, "; ")
}

// splitList splits s at commas, and removes the blanks around each element. It returns nil if s is blank.
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

// checkText returns the reason why s, a value from the environment or a flag, breaks the rule want; "" if it does not.
func checkText(s string, want rule) string {
	if !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
		return "must be UTF-8 without NUL, not " + words.Quote(s)
	}
	return want.broken(s, words.Quote(s))
}

// listenersAt returns one listener for each address, to replace all other listeners. The first is named
// greet, the others greet-2 and so on.
func listenersAt(addresses []string, from origin, problems *problems) *value {
	listeners := &value{at: from}
	for i, s := range addresses {
		name := &value{at: from, text: "greet"}
		if i > 0 {
			name.text = fmt.Sprintf("greet-%d", i+1)
		}
		address := &value{at: from, text: s}
		if reason := checkText(s, listenAddress); reason != "" {
			problems.add(from, fmt.Sprintf("listeners[%d].address", i), "%s", reason)
			address.wrong = true
		}
		listeners.list = append(listeners.list, &value{at: from, fields: map[string]*value{"name": name, "address": address}})
	}
	if n := len(addresses); n == 0 || n > mostSections {
		problems.add(from, "listeners", "must have from 1 to %d addresses, not %d: give some, or unset it", mostSections, n)
		listeners.list = []*value{}
	}
	return listeners
}
