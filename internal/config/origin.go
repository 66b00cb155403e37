package config

import (
	"maps"
	"strings"
)

// Origin says what set the key, such as "log.level" or "listeners[0].address":
// "default", "/etc/greetd/greetd.yaml:12", "environment GREETD_LOG_LEVEL" or
// "flag --listen".
func (l Loaded) Origin(key string) string { return l.origin(key).String() }

// IsSet reports whether the key has another origin than the defaults.
func (l Loaded) IsSet(key string) bool { return l.origin(key) != fromDefault }

// Problem is a [*Problem] that says err about the key, and where its value came
// from; if it has its default, where the section came from, so that the place to set
// it is told. For nil it is nil.
func (l Loaded) Problem(key string, err error) error {
	if err == nil {
		return nil
	}
	where := l.nearestOrigin(key)
	reason := err.Error()
	if reason == "" {
		reason = "is wrong"
	}
	return &Problem{File: where.from, Line: where.line, Key: key, Reason: reason, cause: err}
}

func (l Loaded) origin(key string) origin {
	if o, ok := l.origins[key]; ok {
		return o
	}
	if strings.HasSuffix(key, "]") {
		return l.origin(parent(key)) // its list, which came as a whole
	}
	return fromDefault
}

// nearestOrigin is where the key was set, or else the section that it is in.
func (l Loaded) nearestOrigin(key string) origin {
	for ; key != ""; key = parent(key) {
		if o, ok := l.origins[key]; ok {
			return o
		}
	}
	return fromDefault
}

// parent is the list or the section that the key is in, "" at the top.
func parent(key string) string {
	return key[:max(0, strings.LastIndexAny(key, ".["))]
}

// origins tell by key what set it. What is not in it has its default.
type origins map[string]origin

// set forgets where the key, and what is below it, came from before.
func (o origins) set(key string, from origin) {
	maps.DeleteFunc(o, func(k string, _ origin) bool {
		return strings.HasPrefix(k, key+"[") || strings.HasPrefix(k, key+".")
	})
	o[key] = from
}
