package probe

import "regexp"

// smtpProducts are mail servers that name themselves.
var smtpProducts = regexp.MustCompile(`\b(Postfix|Exim|Sendmail|OpenSMTPD|qmail|Dovecot|Haraka|Cyrus|Stalwart|Courier|Microsoft ESMTP)\b(?:[ /]v?([0-9][0-9A-Za-z.+~_-]*))?`)

// readSMTP reads the greeting of RFC 5321, section 3.1, which LMTP has too: a reply
// whose lines all have a code. 220 is positive.
func readSMTP(said []byte, whole bool) reading {
	r := parseReply(said, whole)
	r.wrong = r.wrong || r.free
	return r.read("220")
}
