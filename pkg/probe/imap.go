package probe

import (
	"regexp"
	"strings"
)

var imapStart = regexp.MustCompile(`(?i)^\* (OK|PREAUTH|BYE)(?: |$)`)

// readIMAP reads the greeting of RFC 9051, section 7.1: a line with OK, PREAUTH or BYE.
// The latter is temporary with the response code UNAVAILABLE (RFC 5530).
func readIMAP(said []byte, whole bool) reading {
	return oneLine(said, whole, func(line string) (kind, Refusal) {
		found := imapStart.FindStringSubmatch(line)
		switch {
		case found == nil:
			return foreign, Refusal{}
		case !strings.EqualFold(found[1], "BYE"):
			return positive, Refusal{}
		default:
			temporary := strings.Contains(strings.ToUpper(line), "[UNAVAILABLE]")
			return refusal, Refusal{Code: "BYE", Text: line, Temporary: temporary}
		}
	})
}
