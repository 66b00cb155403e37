package config

import (
	"bytes"
	"fmt"
	"net/netip"
	"reflect"
	"strconv"
	"time"
)

// YAML returns the whole configuration as a file that loads to the same [Config]. A comment after each
// value has its origin.
func (l Loaded) YAML() []byte {
	var w yamlWriter
	w.origin = l.Origin
	w.section(reflect.ValueOf(l.Config), "", "")
	return w.buf.Bytes()
}

type yamlWriter struct {
	buf    bytes.Buffer
	origin func(key string) string
}

// section writes the fields of v, each on its own lines with this indent.
func (w *yamlWriter) section(v reflect.Value, key, indent string) {
	for i := range v.NumField() {
		name := v.Type().Field(i).Tag.Get("mapstructure")
		w.value(v.Field(i), join(key, name), indent, name+":")
	}
}

// value writes v, the value of key, after the indent and intro, such as "rate:" or "-".
func (w *yamlWriter) value(v reflect.Value, key, indent, intro string) {
	deeper := indent + "  "
	switch v := v.Interface().(type) {
	case []Listener:
		w.line(key, indent+intro, "")
		for i := range v {
			w.listener(reflect.ValueOf(v[i]), fmt.Sprintf("%s[%d]", key, i), deeper)
		}
	case []netip.Prefix:
		if len(v) == 0 {
			w.line(key, indent+intro, "[]")
			return
		}
		w.line("", indent+intro, "")
		for i, p := range v {
			text := unixPeers
			if p.IsValid() {
				text = p.String()
			}
			w.line(fmt.Sprintf("%s[%d]", key, i), deeper+"-", text)
		}
	case FileMode:
		w.line(key, indent+intro, strconv.Quote(v.String()))
	case string:
		w.line(key, indent+intro, strconv.Quote(v)) // Go's escapes are valid in YAML
	case float64:
		w.line(key, indent+intro, strconv.FormatFloat(v, 'f', -1, 64))
	case bool, int, time.Duration:
		w.line(key, indent+intro, fmt.Sprint(v))
	default:
		w.line("", indent+intro, "")
		w.section(reflect.ValueOf(v), key, deeper)
	}
}

// listener writes v as an element of a list: as a section with a dash before its first key.
func (w *yamlWriter) listener(v reflect.Value, key, indent string) {
	from := w.buf.Len()
	w.section(v, key, indent+"  ")
	w.buf.Bytes()[from+len(indent)] = '-'
}

// line writes one line. If key is not "", the line ends with the origin of key as a comment.
func (w *yamlWriter) line(key, intro, value string) {
	const column = 36 // where the comment begins, unless the value is too long
	line := intro
	if value != "" {
		line += " " + value
	}
	if key == "" {
		fmt.Fprintln(&w.buf, line)
		return
	}
	fmt.Fprintf(&w.buf, "%-*s # %s\n", column, line, w.origin(key))
}
