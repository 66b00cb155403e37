package probe

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// The beginnings of greetings that are one line, each with the word that decides, and what shows that a refusal will
// pass.
var (
	popStart      = regexp.MustCompile(`^(\+OK|-ERR)(?: |$)`)                     // RFC 1939, section 4
	popTemporary  = regexp.MustCompile(`(?i)\[(?:SYS/TEMP|IN-USE|LOGIN-DELAY)\]`) // RFC 2449, RFC 3206
	imapStart     = regexp.MustCompile(`(?i)^\* (OK|PREAUTH|BYE)(?: |$)`)         // RFC 9051, section 7.1
	imapTemporary = regexp.MustCompile(`(?i)\[UNAVAILABLE\]`)                     // RFC 5530

	// A refusal of a server that none of our protocols fits: HTTP, Redis.
	otherStart     = regexp.MustCompile(`^(?:HTTP/1\.[01] ([45][0-9][0-9])(?: |$)|-(DENIED) )`)
	otherTemporary = regexp.MustCompile(`^HTTP/1\.[01] (?:408|429|503|504)`)
)

// mailboxProducts are POP3 and IMAP servers that name themselves.
var mailboxProducts = regexp.MustCompile(`\b(Dovecot|Courier-IMAP|Cyrus(?: IMAP| POP3)?|Stalwart|Microsoft Exchange|Qpopper|UW)\b(?:[ /]v?([0-9][0-9A-Za-z.+~_-]*))?`)

// oneLine reads a greeting that is one line. start has the word that decides in its groups: one in good is positive, and
// another one a refusal. temporary matches a refusal that will pass.
func oneLine(start, temporary *regexp.Regexp, good ...string) func(said []byte, whole bool) reading {
	return func(said []byte, whole bool) reading {
		line, size := firstLine(said, whole)
		if size == 0 {
			return reading{}
		}
		out := reading{kind: positive, end: size}
		found := start.FindSubmatch(line)
		if found == nil {
			out.kind = foreign
			return out
		}
		word := strings.ToUpper(string(bytes.Join(found[1:], nil)))
		if !slices.Contains(good, word) {
			out.kind = refusal
			out.refused = Refusal{Code: word, Text: string(line), Temporary: temporary.Match(line)}
		}
		return out
	}
}

// readOther reads a refusal of a protocol that is none of ours.
func readOther(said []byte, whole bool) reading {
	if !isAlert(said) {
		return oneLine(otherStart, otherTemporary)(said, whole)
	}
	text := fmt.Sprintf("TLS alert %d: the server speaks TLS", said[6])
	return reading{kind: refusal, end: 7, refused: Refusal{Code: strconv.Itoa(int(said[6])), Text: text}}
}

// isAlert reports whether said begins with a TLS alert (RFC 8446, section 6), which a
// server of TLS sends to clients that sent plain text.
func isAlert(said []byte) bool {
	return len(said) >= 7 && said[0] == 21 && said[1] == 3 && said[2] <= 4 &&
		said[3] == 0 && said[4] == 2 && (said[5] == 1 || said[5] == 2)
}

// firstLine returns the first line of said, without its end, and its size, with its end. The size is 0 if the line is
// not complete; the whole text may end without a line end.
func firstLine(said []byte, whole bool) (line []byte, size int) {
	line, rest, ended := bytes.Cut(said, []byte("\n"))
	if ended || whole {
		size = len(said) - len(rest)
	}
	return bytes.TrimSuffix(line, []byte("\r")), size
}
