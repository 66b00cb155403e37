package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"greetd.example/internal/words"
)

// A Problem is one mistake in the configuration. Its text is FILE:LINE: KEY: REASON, without the parts
// that are empty.
type Problem struct {
	File   string // the origin of the value: the path of a file, "environment NAME", "flag --listen" or "default"
	Line   int    // in File, from 1; 0 if there is none
	Key    string // with dots, such as "listeners[0].address"; "" for File as a whole
	Reason string // in words, with the remedy; never empty

	cause error
}

// Error implements error. The text is one line.
func (p *Problem) Error() string {
	where := origin{p.File, p.Line}.String()
	if p.Key == "" {
		return where + ": " + p.Reason
	}
	return where + ": " + p.Key + ": " + p.Reason
}

// Unwrap returns the error that was passed to [Loaded.Problem]. It returns nil for other problems.
func (p *Problem) Unwrap() error { return p.cause }

// An origin is the place where a value is set.
type origin struct {
	from string // see Problem.File
	line int    // in a file; else 0
}

func (o origin) String() string {
	from := o.from
	if strings.ContainsFunc(from, func(r rune) bool { return !strconv.IsPrint(r) }) {
		from = strconv.Quote(from)
	}
	if o.line == 0 {
		return from
	}
	return from + ":" + strconv.Itoa(o.line)
}

func environment(name string) origin { return origin{from: "environment " + name} }

var (
	fromDefault = origin{from: "default"}
	fromFlag    = origin{from: "flag --listen"}
)

const mostProblems = 100 // are reported

// problems collects the problems that are found. The zero value is empty.
type problems struct {
	found []*Problem
	more  bool // there were more than mostProblems
}

func (p *problems) add(where origin, key, format string, args ...any) {
	if len(p.found) == mostProblems {
		p.more = true
		return
	}
	p.found = append(p.found, &Problem{File: where.from, Line: where.line, Key: key, Reason: fmt.Sprintf(format, args...)})
}

// err joins all problems: first those in files, in the order of files and then by line, then the others in
// the order in which they were found.
func (p *problems) err(files []string) error {
	rank := func(p *Problem) int {
		if i := slices.Index(files, p.File); i >= 0 {
			return i
		}
		return len(files)
	}
	slices.SortStableFunc(p.found, func(a, b *Problem) int {
		return cmp.Or(rank(a)-rank(b), a.Line-b.Line)
	})
	if p.more {
		last := p.found[len(p.found)-1]
		p.found = append(p.found, &Problem{File: last.File, Reason: "there are more problems: correct these first"})
	}
	errs := make([]error, len(p.found))
	for i, problem := range p.found {
		errs[i] = problem
	}
	return errors.Join(errs...)
}

// plain returns s without quotes if it is short and clear without them. Otherwise it returns s in quotes.
func plain(s string) string {
	odd := strings.ContainsFunc(s, func(r rune) bool { return !strconv.IsGraphic(r) || r == ' ' || r == ':' })
	if s == "" || odd || len(s) > 60 {
		return words.Quote(s)
	}
	return s
}
