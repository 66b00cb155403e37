// Package plugin speaks the interface between a monitoring system (Nagios,
// Icinga, Naemon, Shinken and others) and its plugins, as the Monitoring Plugins
// Development Guidelines describe it: states, threshold ranges, performance data
// and the lines in which a plugin tells them.
package plugin

import (
	"fmt"
	"slices"
)

// State is the result of a check. Its number is the plugin's exit status.
type State int

// The four states of the guidelines.
const (
	OK       State = 0
	Warning  State = 1
	Critical State = 2
	Unknown  State = 3
)

// bySeverity has the worst state first. Unknown is less bad than Warning: the
// check saw something wrong elsewhere, and that must not hide behind it.
var bySeverity = []State{Critical, Warning, Unknown, OK}

// Worst is the worst of the states in the order CRITICAL, WARNING, UNKNOWN, OK.
// Of none at all it is Unknown: nothing was checked.
func Worst(states ...State) State {
	for _, s := range bySeverity {
		if slices.Contains(states, s) {
			return s
		}
	}
	return Unknown
}

// String is the state in the capitals of a status line.
func (s State) String() string {
	switch s {
	case OK:
		return "OK"
	case Warning:
		return "WARNING"
	case Critical:
		return "CRITICAL"
	case Unknown:
		return "UNKNOWN"
	}
	return fmt.Sprintf("State(%d)", int(s))
}

// Choice is a state that an operator picks on the command line, as ok, warn or
// crit. It satisfies the Value interfaces of flag and pflag.
type Choice State

var choices = map[string]State{"ok": OK, "warn": Warning, "crit": Critical}

// Set takes ok, warn or crit.
func (c *Choice) Set(word string) error {
	s, found := choices[word]
	if !found {
		return fmt.Errorf("%q is none of ok, warn, crit", word)
	}
	*c = Choice(s)
	return nil
}

// String is the word that Set takes.
func (c *Choice) String() string {
	for word, s := range choices {
		if s == State(*c) {
			return word
		}
	}
	return State(*c).String()
}

// Type names the value in a help text.
func (*Choice) Type() string { return "ok|warn|crit" }
