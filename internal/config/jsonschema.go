package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"time"
)

// A jsonSchema is a JSON Schema of draft 7, which most editors support.
type jsonSchema map[string]any

// matching returns the schema of a text that matches pattern; "" allows any text.
func matching(pattern string) jsonSchema {
	if pattern == "" {
		return jsonSchema{"type": "string"}
	}
	return jsonSchema{"type": "string", "pattern": pattern}
}

// Patterns of the values that the rules accept. They use no lookahead, since some validators do not
// support it. They do not check conditions that need arithmetic: the host bits of a prefix, and the sum
// of the parts of a duration.
const (
	durationPattern = `^\+?(([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+$`

	noTimePattern = `^\+?([0.]+(ns|us|µs|μs|ms|s|m|h))+$`

	// tooLongPattern matches a part that alone is longer than 24 hours.
	tooLongPattern = `(^|[^0-9.])0*` +
		`((2[5-9]|[3-9][0-9]|[1-9][0-9]{2,})(\.[0-9]*)?h|` +
		`(144[1-9]|14[5-9][0-9]|1[5-9][0-9]{2}|[2-9][0-9]{3}|[1-9][0-9]{4,})(\.[0-9]*)?m([^s]|$)|` +
		`(8640[1-9]|864[1-9][0-9]|86[5-9][0-9]{2}|8[7-9][0-9]{3}|9[0-9]{4}|[1-9][0-9]{5,})(\.[0-9]*)?s)`

	modePattern = `^(0o)?0*([2367][0-7]{2}|[0-7]?[2367][0-7]|[0-7]{0,2}[2367])$`

	byteDigits    = `(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])`
	ipv4Pattern   = `(` + byteDigits + `\.){3}` + byteDigits
	prefixPattern = `^` + ipv4Pattern + `(/(3[0-2]|[12]?[0-9]))?$|^[0-9A-Fa-f]*:[0-9A-Fa-f:.]+(/(12[0-8]|1[01][0-9]|[1-9]?[0-9]))?$`

	portPattern      = `(0*(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[0-9]{1,4})|[0-9-]*[A-Za-z][A-Za-z0-9_.+-]*)`
	namePattern      = `([A-Za-z0-9_-]{1,63}\.)*[A-Za-z0-9_-]*[A-Za-z_-][A-Za-z0-9_-]*\.?`
	linkLocalPattern = `\[[Ff][Ee][89ABab][0-9A-Fa-f]:[0-9A-Fa-f:.]*`
	tcpPattern       = `(` + ipv4Pattern + `|` + namePattern + `|\[[A-Za-z0-9_.:-]*\]|` + linkLocalPattern + `%[^\]]+\])?:` + portPattern
	// noHostPattern matches addresses that tcpPattern accepts although they are mistyped unix addresses or
	// vsock addresses, have a label with a hyphen at an end, or are link-local without a zone.
	noHostPattern = `^unix:([^/@]|@?$)|^vsock:|^([^:/]*\.)?-|^[^:/]*-[.:]|^` + linkLocalPattern + `\]`
	unixPattern   = `unix:/[^\x00]{0,105}[^/\x00]` // at most 107 characters, see maxSocketPath
)

// JSONSchema returns the JSON Schema of the file, for editors. It refuses most single values that
// [Load] refuses. It does not see values that only conflict with other values.
func JSONSchema() []byte {
	root := schema.json(reflect.ValueOf(Default()))
	root["$schema"] = "http://json-schema.org/draft-07/schema#"
	root["title"] = "greetd.yaml(5)"
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(root); err != nil {
		panic(err) // only if the schema has a value that JSON can't express
	}
	return text.Bytes()
}

// json returns the JSON Schema of f. v is the default of f; the zero Value means that there is none.
func (f field) json(v reflect.Value) jsonSchema {
	switch {
	case f.many && f.fields != nil:
		element := f
		element.many, element.doc = false, ""
		return f.described(jsonSchema{"type": "array", "items": element.json(v.Index(0)), "minItems": 1, "maxItems": mostSections}, reflect.Value{})
	case f.many:
		return f.described(jsonSchema{"type": "array", "items": f.rule.json}, v)
	case f.fields == nil:
		return f.described(maps.Clone(f.rule.json), v)
	}
	properties, required := make(jsonSchema), []string{}
	for i, child := range f.fields {
		properties[child.name] = child.json(v.Field(i))
		if child.required {
			required = append(required, child.name)
		}
	}
	section := jsonSchema{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		section["required"] = required
	}
	return f.described(section, reflect.Value{})
}

// described adds the description of f and its default v to s, and returns s.
func (f field) described(s jsonSchema, v reflect.Value) jsonSchema {
	if f.doc != "" {
		s["description"] = f.doc
	}
	if !v.IsValid() || f.required {
		return s
	}
	switch value := v.Interface().(type) {
	case time.Duration, FileMode:
		s["default"] = fmt.Sprint(value)
	case []netip.Prefix:
		s["default"] = []string{}
	default:
		s["default"] = value
	}
	return s
}
