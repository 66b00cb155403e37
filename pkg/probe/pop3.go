package probe

import (
	"regexp"
	"strings"
)

// mailboxProducts are POP3 and IMAP servers that name themselves.
var mailboxProducts = regexp.MustCompile(`\b(Dovecot|Courier-IMAP|Cyrus(?: IMAP| POP3)?|Stalwart|Microsoft Exchange|Qpopper|UW)\b(?:[ /]v?([0-9][0-9A-Za-z.+~_-]*))?`)

var popStart = regexp.MustCompile(`^(\+OK|-ERR)(?: |$)`)

// popTemporary are the response codes of a refusal that will pass (RFC 2449, RFC 3206).
var popTemporary = regexp.MustCompile(`\[(?:SYS/TEMP|IN-USE|LOGIN-DELAY)\]`)

// readPOP3 reads the greeting of RFC 1939, section 4: a line with +OK or -ERR.
func readPOP3(said []byte, whole bool) reading {
	return oneLine(said, whole, func(line string) (kind, Refusal) {
		switch {
		case !popStart.MatchString(line):
			return foreign, Refusal{}
		case strings.HasPrefix(line, "+OK"):
			return positive, Refusal{}
		default:
			return refusal, Refusal{Code: "-ERR", Text: line, Temporary: popTemporary.MatchString(strings.ToUpper(line))}
		}
	})
}
