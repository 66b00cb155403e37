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

// A Problem is one thing in the configuration that has to be changed. Its text is
// FILE:LINE: KEY: REASON, without what is empty.
type Problem struct {
	File   string // what set the value: a file's path, "environment NAME", "flag --listen" or "default"
	Line   int    // in File, from 1; 0 where there is none
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

// Unwrap is the error that [Loaded.Problem] was given, else nil.
func (p *Problem) Unwrap() error { return p.cause }

// An origin is what set a value.
type origin struct {
	from string // as Problem.File
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

// mostProblems is how many are reported.
const mostProblems = 100

// problems collects what is found. The zero value is empty.
type problems struct {
	found []*Problem
	more  bool // than mostProblems
}

func (p *problems) add(where origin, key, format string, args ...any) {
	if len(p.found) == mostProblems {
		p.more = true
		return
	}
	p.found = append(p.found, &Problem{File: where.from, Line: where.line, Key: key, Reason: fmt.Sprintf(format, args...)})
}

// err is all that was found: first what is in the files, by line, then the rest, as found.
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

// plain is s without quotes, unless that could confuse.
func plain(s string) string {
	odd := strings.ContainsFunc(s, func(r rune) bool { return !strconv.IsGraphic(r) || r == ' ' || r == ':' })
	if s == "" || odd || len(s) > 60 {
		return words.Quote(s)
	}
	return s
}
