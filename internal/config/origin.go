package config

import (
	"maps"
	"strings"
)

// Origin returns the origin of a key such as "log.level" or "listeners[0].address": "default",
// "/etc/greetd/greetd.yaml:12", "environment GREETD_LOG_LEVEL" or "flag --listen".
func (l Loaded) Origin(key string) string { return l.origin(key).String() }

// IsSet reports whether the origin of the key is not "default".
func (l Loaded) IsSet(key string) bool { return l.origin(key) != fromDefault }

// Problem returns a [*Problem] with err as the reason, and with the key and its origin. If the key has
// its default, the origin is that of its section, where the operator can set the key. Problem returns nil
// if err is nil.
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
		return l.origin(parent(key)) // the whole list has one origin
	}
	return fromDefault
}

// nearestOrigin returns the origin of the key, or of the nearest section around it that has an origin.
func (l Loaded) nearestOrigin(key string) origin {
	for ; key != ""; key = parent(key) {
		if o, ok := l.origins[key]; ok {
			return o
		}
	}
	return fromDefault
}

// parent returns the key of the list or section that contains the key; "" at the top.
func parent(key string) string {
	return key[:max(0, strings.LastIndexAny(key, ".["))]
}

// origins has the origin of each key that is set. A key without an origin has its default.
type origins map[string]origin

// set sets the origin of the key, and removes the origins of all keys below it.
func (o origins) set(key string, from origin) {
	maps.DeleteFunc(o, func(k string, _ origin) bool {
		return strings.HasPrefix(k, key+"[") || strings.HasPrefix(k, key+".")
	})
	o[key] = from
}
