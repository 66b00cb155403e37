package probe

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Escape makes text safe for a terminal and a log. Control characters except line
// feed and tab, bytes that are not UTF-8, and the characters that change the direction
// of text become \r, \xHH or \u{HHHH}; a backslash stays what it is.
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
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
		text = text[size:]
	}
	return b.String()
}

// unsafeRune reports whether r is a control character (C0, DEL, C1), changes the
// direction of text (Unicode standard annex 9), or ends a line without being LF.
func unsafeRune(r rune) bool {
	switch {
	case r < 0x20, 0x7f <= r && r < 0xa0:
		return true
	case r == 0x061c, r == 0x200e, r == 0x200f, 0x202a <= r && r <= 0x202e, 0x2066 <= r && r <= 0x2069:
		return true
	case r == 0x2028, r == 0x2029:
		return true
	}
	return false
}

// Unescape reads \r, \n, \t, \\ and \xHH in s, and takes the rest as it is. The error
// names the escape that it doesn't know.
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
		size := 1
		switch escape[0] {
		case 'r':
			b.WriteByte('\r')
		case 'n':
			b.WriteByte('\n')
		case 't':
			b.WriteByte('\t')
		case '\\':
			b.WriteByte('\\')
		case 'x':
			size = min(3, len(escape))
			code, err := strconv.ParseUint(escape[1:size], 16, 8)
			if err != nil || size < 3 {
				return "", fmt.Errorf(`\%s: write \x and two hexadecimal digits`, escape[:size])
			}
			b.WriteByte(byte(code))
		default:
			_, size = utf8.DecodeRuneInString(escape)
			return "", fmt.Errorf(`\%s is unknown: there are \r \n \t \\ \xHH`, escape[:size])
		}
		s = escape[size:]
	}
}
