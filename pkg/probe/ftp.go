package probe

import "regexp"

// ftpProducts are FTP servers that name themselves.
var ftpProducts = regexp.MustCompile(`(?i)\b(vsFTPd|ProFTPD|Pure-FTPd|FileZilla Server|Microsoft FTP Service|Serv-U)\b(?:[ /]v?([0-9][0-9A-Za-z.+~_-]*))?`)

// readFTP reads the greeting of RFC 959, section 5.4: 220 is positive. 120 announces it,
// and lines between the first and the last may be anything.
func readFTP(said []byte, whole bool) reading {
	r := parseReply(said, whole)
	if r.code != "120" || r.end == 0 {
		return r.read("220")
	}
	if r.end == len(said) {
		return reading{promised: true}
	}
	out := readFTP(said[r.end:], whole)
	if out.end > 0 {
		out.end += r.end
	}
	return out
}
