package logging

import (
	"slices"
	"strconv"

	"greetd.example/pkg/service"
)

// reasons has the reasons of each outcome, in the order of outcomes.
var reasons = func() (all [visitKinds][]service.Reason) {
	for i, outcome := range outcomes {
		all[i] = outcome.Reasons()
	}
	return all
}()

// reasonCounts counts visits by outcome and reason, in the order of reasons.
type reasonCounts [visitKinds][6]uint64

// add counts a visit. It ignores a greeted visit, which has no reason.
func (c *reasonCounts) add(outcome int, reason service.Reason) {
	if i := slices.Index(reasons[outcome], reason); i >= 0 {
		c[outcome][i]++
	}
}

// addTo adds to e a field for each reason of an outcome that has occurred. outcomeKey is the key of the
// field of the outcome.
func (c *reasonCounts) addTo(e *entry, outcomeKey string, outcome int) {
	for i, reason := range reasons[outcome] {
		if n := c[outcome][i]; n > 0 {
			e.addNumber(outcomeKey+"_"+string(reason), n)
		}
	}
}

// appendWords appends, in brackets, the reasons of an outcome that have occurred, with their numbers.
func (c *reasonCounts) appendWords(text []byte, outcome int) []byte {
	separator := " ("
	for i, reason := range reasons[outcome] {
		if n := c[outcome][i]; n > 0 {
			text = strconv.AppendUint(append(text, separator...), n, 10)
			text = append(append(text, ' '), reason...)
			separator = ", "
		}
	}
	if separator == " (" {
		return text
	}
	return append(text, ')')
}
