// Package words formats text for people: counts, and text from outside that is made safe to show.
package words

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/agnivade/levenshtein"
)

// Count returns n with noun in the right number, such as "1 byte", "2 bytes", "3 entries" or "4 days".
func Count[N int | uint64](n N, noun string) string {
	return string(AppendCount(nil, uint64(n), noun))
}

// AppendCount appends the result of [Count] to dst. The plural is formed with s, or with ies for a y after a
// consonant.
func AppendCount(dst []byte, n uint64, noun string) []byte {
	dst = append(append(strconv.AppendUint(dst, n, 10), ' '), noun...)
	switch stem := len(dst) - 1; {
	case n == 1:
		return dst
	case dst[stem] == 'y' && !strings.ContainsRune("aeou", rune(dst[stem-1])):
		return append(dst[:stem], "ies"...)
	}
	return append(dst, 's')
}

// quoted is the maximum number of bytes of a text that [Quote] shows.
const quoted = 60

// Quote returns s in quotes, as a Go string. If s is longer than 60 bytes, it returns only these, followed by "...".
func Quote(s string) string {
	if len(s) > quoted {
		return strconv.Quote(strings.ToValidUTF8(s[:quoted], "")) + "..."
	}
	return strconv.Quote(s)
}

// Printable returns s as one line that is safe for a terminal. Characters that are not printable, such as a newline,
// are escaped as in a Go string.
func Printable(s string) string { return string(AppendPrintable(nil, []byte(s))) }

// AppendPrintable appends the result of [Printable] to dst.
func AppendPrintable(dst, text []byte) []byte {
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		if r == utf8.RuneError && size == 1 || !strconv.IsPrint(r) {
			escaped := strconv.Quote(string(text[:size]))
			dst = append(dst, strings.Trim(escaped, `"`)...)
		} else {
			dst = append(dst, text[:size]...)
		}
		text = text[size:]
	}
	return dst
}

// Left returns d in days, such as "21 days". If d is less than two days, it returns hours, such as "36 hours", and if
// it is less than two hours, minutes, such as "5 minutes".
func Left(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return Count(int(d.Hours()/24), "day")
	case d >= 2*time.Hour:
		return Count(int(d.Hours()), "hour")
	}
	return Count(int(d.Minutes()), "minute")
}

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
