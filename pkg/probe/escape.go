package probe

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Escape makes text safe for a terminal and for a log. It replaces control characters except line
// feed and tab, bytes that are not UTF-8, invisible characters, and characters that change the
// direction of text, by \r, \xHH, \uHHHH or \UHHHHHHHH. It does not change a backslash.
func Escape(text []byte) string {
	var b strings.Builder
	b.Grow(len(text))
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, text[0])
		case r == '\n' || r == '\t' || !unsafeRune(r):
			b.Write(text[:size])
		case r == '\r':
			b.WriteString(`\r`)
		case r < 0x80:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r > 0xffff:
			fmt.Fprintf(&b, `\U%08x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
		text = text[size:]
	}
	return b.String()
}

// unsafeRune reports whether r is invisible, looks like a space, or changes the terminal or the
// text around it. These are control and format characters (including tags, and those that change
// the direction of text), line ends, spaces other than the ASCII space, and characters that Unicode
// allows a program to hide.
func unsafeRune(r rune) bool {
	return !strconv.IsPrint(r) ||
		r > 0x7f && unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector) ||
		r == blankBraille
}

// blankBraille is a symbol that looks like a space.
const blankBraille = 0x2800

// Unescape replaces \r, \n, \t, \\ and \xHH in s, and leaves the rest unchanged. The error names an
// unknown escape.
func Unescape(s string) (string, error) {
	var b strings.Builder
	for {
		plain, escape, found := strings.Cut(s, `\`)
		b.WriteString(plain)
		if !found {
			return b.String(), nil
		}
		if escape == "" {
			return "", errors.New(`a backslash at the end: write \\ for a backslash`)
		}
		if !strings.ContainsRune(`rnt\x`, rune(escape[0])) {
			_, size := utf8.DecodeRuneInString(escape)
			return "", fmt.Errorf(`\%s is unknown: there are \r \n \t \\ \xHH`, escape[:size])
		}
		code, _, rest, err := strconv.UnquoteChar(`\`+escape, 0)
		if err != nil {
			return "", fmt.Errorf(`\%s: write \x and two hexadecimal digits`, escape[:min(3, len(escape))])
		}
		b.WriteByte(byte(code))
		s = rest
	}
}
