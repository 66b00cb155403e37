package greeting

import (
	"errors"
	"fmt"
	"text/template"
	"time"
)

// A function is one of text/template's.
type function struct {
	parameters []parameter
	variadic   bool                          // more of anything may follow
	call       func(args []any) (any, error) // nil for and and or
}

var (
	one = []parameter{anything}
	two = []parameter{anything, anything}
)

// functions are all but call: there is nothing to call.
var functions = map[string]function{
	"and":      {},
	"or":       {},
	"not":      {one, false, func(args []any) (any, error) { return !truth(args[0]), nil }},
	"eq":       {one, true, func(args []any) (any, error) { return equalToAny(args[0], args[1:]) }},
	"ne":       {two, false, inverse(func(a, b any) (bool, error) { return equalToAny(a, []any{b}) })},
	"lt":       {two, false, func(args []any) (any, error) { return less(args[0], args[1]) }},
	"le":       {two, false, func(args []any) (any, error) { return lessOrEqual(args[0], args[1]) }},
	"gt":       {two, false, inverse(lessOrEqual)},
	"ge":       {two, false, inverse(less)},
	"len":      {one, false, func(args []any) (any, error) { return length(args[0]) }},
	"index":    {one, true, func(args []any) (any, error) { return index(args[0], args[1:]) }},
	"slice":    {one, true, func(args []any) (any, error) { return slice(args[0], args[1:]) }},
	"print":    {nil, true, func(args []any) (any, error) { return fmt.Sprint(args...), nil }},
	"println":  {nil, true, func(args []any) (any, error) { return fmt.Sprintln(args...), nil }},
	"printf":   {[]parameter{aString}, true, func(args []any) (any, error) { return fmt.Sprintf(args[0].(string), args[1:]...), nil }},
	"html":     {nil, true, func(args []any) (any, error) { return template.HTMLEscaper(args...), nil }},
	"js":       {nil, true, func(args []any) (any, error) { return template.JSEscaper(args...), nil }},
	"urlquery": {nil, true, func(args []any) (any, error) { return template.URLQueryEscaper(args...), nil }},
}

// functionNames is what the parser wants to know of them.
func functionNames() map[string]any {
	names := make(map[string]any, len(functions))
	for name := range functions {
		names[name] = true
	}
	return names
}

func inverse(f func(a, b any) (bool, error)) func(args []any) (any, error) {
	return func(args []any) (any, error) {
		yes, err := f(args[0], args[1])
		return !yes, err
	}
}

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
	at := int64(-1)
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
	parameters []parameter
	of         func(t time.Time, args []any) any
	ofWord     bool // also one of a month's and a day's
}

var methods = map[string]method{
	"Add":        {parameters: []parameter{aDuration}, of: func(t time.Time, args []any) any { return t.Add(args[0].(time.Duration)) }},
	"AddDate":    {parameters: []parameter{anInt, anInt, anInt}, of: func(t time.Time, args []any) any { return t.AddDate(args[0].(int), args[1].(int), args[2].(int)) }},
	"Day":        {of: func(t time.Time, _ []any) any { return t.Day() }},
	"Format":     {parameters: []parameter{aString}, of: func(t time.Time, args []any) any { return t.Format(args[0].(string)) }},
	"Hour":       {of: func(t time.Time, _ []any) any { return t.Hour() }},
	"IsDST":      {of: func(t time.Time, _ []any) any { return t.IsDST() }},
	"Local":      {of: func(t time.Time, _ []any) any { return t.Local() }},
	"Minute":     {of: func(t time.Time, _ []any) any { return t.Minute() }},
	"Month":      {of: func(t time.Time, _ []any) any { return t.Month() }},
	"Nanosecond": {of: func(t time.Time, _ []any) any { return t.Nanosecond() }},
	"Round":      {parameters: []parameter{aDuration}, of: func(t time.Time, args []any) any { return t.Round(args[0].(time.Duration)) }},
	"Second":     {of: func(t time.Time, _ []any) any { return t.Second() }},
	"String":     {ofWord: true},
	"Truncate":   {parameters: []parameter{aDuration}, of: func(t time.Time, args []any) any { return t.Truncate(args[0].(time.Duration)) }},
	"UTC":        {of: func(t time.Time, _ []any) any { return t.UTC() }},
	"Unix":       {of: func(t time.Time, _ []any) any { return t.Unix() }},
	"UnixMicro":  {of: func(t time.Time, _ []any) any { return t.UnixMicro() }},
	"UnixMilli":  {of: func(t time.Time, _ []any) any { return t.UnixMilli() }},
	"UnixNano":   {of: func(t time.Time, _ []any) any { return t.UnixNano() }},
	"Weekday":    {of: func(t time.Time, _ []any) any { return t.Weekday() }},
	"Year":       {of: func(t time.Time, _ []any) any { return t.Year() }},
	"YearDay":    {of: func(t time.Time, _ []any) any { return t.YearDay() }},
}

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
