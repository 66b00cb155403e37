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

// bySeverity has the states, the worst first. Unknown comes after Warning, so that it does not hide a problem
// that the check has found elsewhere.
var bySeverity = []State{Critical, Warning, Unknown, OK}

// Worst returns the worst of the states, in the order CRITICAL, WARNING, UNKNOWN, OK. Without states it
// returns Unknown, since nothing was checked.
func Worst(states ...State) State {
	for _, s := range bySeverity {
		if slices.Contains(states, s) {
			return s
		}
	}
	return Unknown
}

// String returns the state in capitals, as in a status line.
func (s State) String() string { return [...]string{"OK", "WARNING", "CRITICAL", "UNKNOWN"}[s] }

// Choice is a state that an operator picks on the command line, as ok, warn or
// crit. It satisfies the Value interfaces of flag and pflag.
type Choice State

var choices = []string{OK: "ok", Warning: "warn", Critical: "crit"}

// Set sets the state from ok, warn or crit.
func (c *Choice) Set(word string) error {
	i := slices.Index(choices, word)
	if i < 0 {
		return fmt.Errorf("%q is none of ok, warn, crit", word)
	}
	*c = Choice(i)
	return nil
}

// String returns the word for Set.
func (c *Choice) String() string { return choices[*c] }

// Type names the value in a help text.
func (*Choice) Type() string { return "ok|warn|crit" }
