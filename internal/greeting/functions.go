package greeting

import (
	"errors"
	"fmt"
	"strings"
	"text/template"
	"time"
)

// A function is one of text/template's.
type function struct {
	name       string
	parameters []parameter
	variadic   bool                          // more of anything may follow
	call       func(args []any) (any, error) // nil for and and or
}

// functions are all but call: there is nothing to call. They, and the methods below, are
// lists for the compiler to lay out: a map would have to be filled at each start.
var functions = []function{
	{name: "and"},
	{name: "or"},
	{"not", []parameter{anything}, false, func(args []any) (any, error) { return !truth(args[0]), nil }},
	{"eq", []parameter{anything}, true, func(args []any) (any, error) { return equalToAny(args[0], args[1:]) }},
	{"ne", []parameter{anything, anything}, false, func(args []any) (any, error) { return not(equalToAny(args[0], args[1:])) }},
	{"lt", []parameter{anything, anything}, false, func(args []any) (any, error) { return less(args[0], args[1]) }},
	{"le", []parameter{anything, anything}, false, func(args []any) (any, error) { return lessOrEqual(args[0], args[1]) }},
	{"gt", []parameter{anything, anything}, false, func(args []any) (any, error) { return not(lessOrEqual(args[0], args[1])) }},
	{"ge", []parameter{anything, anything}, false, func(args []any) (any, error) { return not(less(args[0], args[1])) }},
	{"len", []parameter{anything}, false, func(args []any) (any, error) { return length(args[0]) }},
	{"index", []parameter{anything}, true, func(args []any) (any, error) { return index(args[0], args[1:]) }},
	{"slice", []parameter{anything}, true, func(args []any) (any, error) { return slice(args[0], args[1:]) }},
	{"print", nil, true, func(args []any) (any, error) { return fmt.Sprint(args...), nil }},
	{"println", nil, true, func(args []any) (any, error) { return fmt.Sprintln(args...), nil }},
	{"printf", []parameter{aString}, true, func(args []any) (any, error) { return fmt.Sprintf(args[0].(string), args[1:]...), nil }},
	{"html", nil, true, func(args []any) (any, error) { return template.HTMLEscaper(args...), nil }},
	{"js", nil, true, func(args []any) (any, error) { return template.JSEscaper(args...), nil }},
	{"urlquery", nil, true, func(args []any) (any, error) { return template.URLQueryEscaper(args...), nil }},
}

func (f function) called() string { return f.name }

// functionNames is what the parser wants to know of them.
func functionNames() map[string]any {
	names := make(map[string]any, len(functions))
	for _, f := range functions {
		names[f.name] = true
	}
	return names
}

// named finds what has a name, nil if nothing has.
func named[T interface{ called() string }](all []T, name string) *T {
	for i := range all {
		if all[i].called() == name {
			return &all[i]
		}
	}
	return nil
}

// namesOf lists them for a sentence.
func namesOf[T interface{ called() string }](all []T, separator string) string {
	names := make([]string, len(all))
	for i := range all {
		names[i] = all[i].called()
	}
	return strings.Join(names, separator)
}

func not(yes bool, err error) (bool, error) { return !yes, err }

func equalToAny(a any, others []any) (bool, error) {
	if len(others) == 0 {
		return false, errors.New("what is to be compared with?")
	}
	for _, b := range others {
		if yes, err := equal(a, b); yes || err != nil {
			return yes, err
		}
	}
	return false, nil
}

var errNoString = errors.New("this is no string")

func length(item any) (int, error) {
	text, ok := item.(string)
	if !ok {
		return 0, errNoString
	}
	return len(text), nil
}

// index is a byte of a string.
func index(item any, indexes []any) (any, error) {
	for _, i := range indexes {
		text, ok := item.(string)
		if !ok {
			return nil, errNoString
		}
		at, err := position(i, len(text)-1)
		if err != nil {
			return nil, err
		}
		item = text[at]
	}
	return item, nil
}

func slice(item any, indexes []any) (any, error) {
	text, ok := item.(string)
	if !ok {
		return nil, errNoString
	}
	if len(indexes) > 2 {
		return nil, errors.New("takes a string and where to begin and end, no more")
	}
	bounds := [2]int{0, len(text)}
	for i, index := range indexes {
		at, err := position(index, len(text))
		if err != nil {
			return nil, err
		}
		bounds[i] = at
	}
	if bounds[0] > bounds[1] {
		return nil, fmt.Errorf("it begins at %d and ends at %d", bounds[0], bounds[1])
	}
	return text[bounds[0]:bounds[1]], nil
}

// position makes an index of a whole number, up to last.
func position(index any, last int) (int, error) {
	var at int64
	switch kind, v := kindOf(index); kind {
	case integer:
		at = v.integer
	case unsigned:
		at = int64(v.unsigned)
	default:
		return 0, errors.New("an index is a whole number")
	}
	if at < 0 || at > int64(last) {
		return 0, fmt.Errorf("there is nothing at %d", at)
	}
	return int(at), nil
}

// A method is one of time.Time's.
type method struct {
	name       string
	parameters []parameter
	of         func(t time.Time, args []any) any
	ofWord     bool // also one of a month's and a day's
}

var methods = []method{
	{name: "Add", parameters: []parameter{aDuration}, of: func(t time.Time, args []any) any { return t.Add(args[0].(time.Duration)) }},
	{name: "AddDate", parameters: []parameter{anInt, anInt, anInt}, of: func(t time.Time, args []any) any { return t.AddDate(args[0].(int), args[1].(int), args[2].(int)) }},
	{name: "Day", of: func(t time.Time, _ []any) any { return t.Day() }},
	{name: "Format", parameters: []parameter{aString}, of: func(t time.Time, args []any) any { return t.Format(args[0].(string)) }},
	{name: "Hour", of: func(t time.Time, _ []any) any { return t.Hour() }},
	{name: "IsDST", of: func(t time.Time, _ []any) any { return t.IsDST() }},
	{name: "Local", of: func(t time.Time, _ []any) any { return t.Local() }},
	{name: "Minute", of: func(t time.Time, _ []any) any { return t.Minute() }},
	{name: "Month", of: func(t time.Time, _ []any) any { return t.Month() }},
	{name: "Nanosecond", of: func(t time.Time, _ []any) any { return t.Nanosecond() }},
	{name: "Round", parameters: []parameter{aDuration}, of: func(t time.Time, args []any) any { return t.Round(args[0].(time.Duration)) }},
	{name: "Second", of: func(t time.Time, _ []any) any { return t.Second() }},
	{name: "String", ofWord: true},
	{name: "Truncate", parameters: []parameter{aDuration}, of: func(t time.Time, args []any) any { return t.Truncate(args[0].(time.Duration)) }},
	{name: "UTC", of: func(t time.Time, _ []any) any { return t.UTC() }},
	{name: "Unix", of: func(t time.Time, _ []any) any { return t.Unix() }},
	{name: "UnixMicro", of: func(t time.Time, _ []any) any { return t.UnixMicro() }},
	{name: "UnixMilli", of: func(t time.Time, _ []any) any { return t.UnixMilli() }},
	{name: "UnixNano", of: func(t time.Time, _ []any) any { return t.UnixNano() }},
	{name: "Weekday", of: func(t time.Time, _ []any) any { return t.Weekday() }},
	{name: "Year", of: func(t time.Time, _ []any) any { return t.Year() }},
	{name: "YearDay", of: func(t time.Time, _ []any) any { return t.YearDay() }},
}

func (m method) called() string { return m.name }

// has reports whether a value has the method.
func (m method) has(value any) bool {
	switch value.(type) {
	case Time, time.Time:
		return true
	case time.Month, time.Weekday:
		return m.ofWord
	}
	return false
}

func (m method) call(value any, args []any) any {
	if m.of == nil {
		return value.(fmt.Stringer).String()
	}
	if t, ok := value.(Time); ok {
		return m.of(t.Time, args)
	}
	return m.of(value.(time.Time), args)
}
