package words

import "strings"

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
		if n := edits(simple(name), simple(word)); n < bestEdits {
			best, bestEdits = word, n
		}
	}
	return best
}

// edits returns the number of bytes to insert, delete or replace to change a into b (the Levenshtein distance).
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
