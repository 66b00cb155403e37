package probe

import (
	"regexp"
	"strconv"
	"strings"
)

var (
	sieveStart    = regexp.MustCompile(`^(?:"(?:IMPLEMENTATION|SASL|SIEVE|STARTTLS|VERSION|NOTIFY|MAXREDIRECTS|LANGUAGE|OWNER)"(?: "|$)|(?:BYE|NO) (?:\([A-Z]|"))`)
	sieveLine     = regexp.MustCompile(`^(?:"[^"]+"(?: .*)?|(?i:(OK|NO|BYE))(?: .*)?)$`)
	sieveLiteral  = regexp.MustCompile(`\{([0-9]{1,5})\+?\}$`)
	sieveProducts = regexp.MustCompile(`"IMPLEMENTATION" "([^"0-9]*[^" 0-9])(?: v?([0-9][^ "]*))?`)
)

// readSieve reads the greeting of RFC 5804, section 1.7: capabilities, one a line, and
// then OK, or NO or BYE.
func readSieve(said []byte, whole bool) reading {
	for at := 0; ; {
		line, n := firstLine(said[at:], whole)
		if n == 0 {
			return reading{promised: at > 0}
		}
		found := sieveLine.FindSubmatch(line)
		start := at
		at += n
		if found == nil {
			return reading{kind: foreign, end: at}
		}
		if literal := sieveLiteral.FindSubmatch(line); literal != nil {
			size, _ := strconv.Atoi(string(literal[1])) // five digits
			if at+size > len(said) {
				return reading{promised: true}
			}
			_, n := firstLine(said[at+size:], whole)
			if n == 0 {
				return reading{promised: true}
			}
			at += size + n
		}
		switch code := strings.ToUpper(string(found[1])); code {
		case "":
		case "OK":
			return reading{kind: positive, end: at}
		default:
			text := strings.TrimRight(string(said[start:at]), "\r\n")
			return reading{kind: refusal, end: at, refused: Refusal{Code: code, Text: text, Temporary: strings.Contains(strings.ToUpper(text), "(TRYLATER")}}
		}
		if at == len(said) {
			return reading{promised: true}
		}
	}
}
