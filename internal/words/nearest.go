package words

import (
	"strings"

	"github.com/agnivade/levenshtein"
)

// Nearest returns the word that was most likely meant by name; "" if none is likely. It ignores case, "-", "_" and
// ".".
func Nearest(name string, words []string) string {
	joints := strings.NewReplacer("-", "", "_", "", ".", "")
	simple := func(s string) string { return joints.Replace(strings.ToLower(s)) }
	best, bestEdits := "", min(len(simple(name))/2, 3)+1
	for _, word := range words {
		if len(name) > 2*len(word)+8 {
			continue // can't be near, and the comparison would be slow
		}
		if n := levenshtein.ComputeDistance(simple(name), simple(word)); n < bestEdits {
			best, bestEdits = word, n
		}
	}
	return best
}
