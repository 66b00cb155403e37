package probe

import "regexp"

// nntpProducts are news servers that name themselves.
var nntpProducts = regexp.MustCompile(`\b(INN|InterNetNews|Cyrus|Leafnode|sn|noffle|DNEWS|Diablo)\b[^0-9\r\n]{0,20}([0-9][0-9A-Za-z.+~_-]*)?`)

// readNNTP reads the greeting of RFC 3977, section 5.1: 200 and 201 are positive, 400
// is a temporary and 502 a permanent refusal.
func readNNTP(said []byte, whole bool) reading {
	r := parseReply(said, whole)
	r.wrong = r.wrong || r.free
	return r.read("200", "201")
}
