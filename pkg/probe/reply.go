package probe

import (
	"bytes"
	"regexp"
	"slices"
	"strings"
)

// A reply is a code of three digits and text, which may have several lines: NNN-text,
// and NNN text at the end (RFC 959, section 4.2; RFC 5321, section 4.2).
type reply struct {
	code  string // of its last line, which decides
	text  string // the last line
	end   int    // 0: not complete
	free  bool   // a line between has no code, as FTP allows
	wrong bool   // it is no reply
}

var replyLine = regexp.MustCompile(`^([1-5][0-9][0-9])(?:([ -])|$)`)

// parseReply reads the first reply of said. whole: there will be no more.
func parseReply(said []byte, whole bool) reply {
	var r reply
	for at := 0; ; {
		line, size := firstLine(said[at:], whole)
		if size == 0 {
			if whole && (strings.HasPrefix(r.code, "4") || strings.HasPrefix(r.code, "5")) {
				r.end = at // the server hung up in the middle of its refusal
			}
			return r
		}
		found := replyLine.FindSubmatch(line)
		if at += size; found == nil && r.code == "" {
			return reply{wrong: true, end: at}
		}
		if found == nil {
			r.free = true
			continue
		}
		r.code, r.text = string(found[1]), string(line)
		if string(found[2]) != "-" {
			r.end = at
			return r
		}
	}
}

// The software that names itself in a reply.
var (
	smtpProducts = regexp.MustCompile(`\b(Postfix|Exim|Sendmail|OpenSMTPD|qmail|Dovecot|Haraka|Cyrus|Stalwart|Courier|Microsoft ESMTP)\b(?:[ /]v?([0-9][0-9A-Za-z.+~_-]*))?`)
	ftpProducts  = regexp.MustCompile(`(?i)\b(vsFTPd|ProFTPD|Pure-FTPd|FileZilla Server|Microsoft FTP Service|Serv-U)\b(?:[ /]v?([0-9][0-9A-Za-z.+~_-]*))?`)
	nntpProducts = regexp.MustCompile(`\b(INN|InterNetNews|Cyrus|Leafnode|sn|noffle|DNEWS|Diablo)\b[^0-9\r\n]{0,20}([0-9][0-9A-Za-z.+~_-]*)?`)
)

// codedReply reads the greeting of a protocol in which all lines of a reply have a code: SMTP (RFC 5321, section 3.1),
// LMTP and NNTP (RFC 3977, section 5.1). The codes in good are positive.
func codedReply(good ...string) func(said []byte, whole bool) reading {
	return func(said []byte, whole bool) reading {
		r := parseReply(said, whole)
		r.wrong = r.wrong || r.free
		return r.read(good...)
	}
}

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

// read is what a reply means: a code in good is positive. One of 400 and more
// is a refusal, a permanent one from 500.
func (r reply) read(good ...string) reading {
	out := reading{end: r.end, promised: r.code != "" && r.end == 0}
	switch {
	case r.wrong:
		out.kind = foreign
	case r.end == 0:
	case r.code[0] == '4' || r.code[0] == '5':
		out.kind = refusal
		out.refused = Refusal{Code: r.code, Text: r.text, Temporary: r.code[0] == '4' || shutDown.MatchString(r.text)}
	case slices.Contains(good, r.code):
		out.kind = positive
	default:
		out.kind = foreign
	}
	return out
}

// shutDown is what ProFTPD says while it has a time at which it goes down.
var shutDown = regexp.MustCompile(`^500 .*FTP server shut down .*try again later`)

// readReply reads what may be SMTP, LMTP, FTP or NNTP. With lines between that have no
// code it may also be anything, so that silence completes it.
func readReply(said []byte, whole bool) reading {
	r := parseReply(said, whole)
	out := r.read("220")
	out.promised = out.promised && !r.free
	return out
}

// Codes that servers refuse a connection with. Other texts may begin with a number too:
// a guess wants one of these, or an enhanced status code behind it (RFC 3463).
var replyRefusal = regexp.MustCompile(`^(?:(?:400|421|45[0-4]|502|521|530|55[0346])[ -]|(?:4[0-5][0-9][ -]4|5[0-5][0-9][ -]5)\.[0-9]{1,3}\.[0-9]{1,3}(?: |$)|500 OOPS: |500 .*FTP server shut down)`)

// Words by which a positive reply shows its protocol.
var replyWords = []struct {
	name  Protocol
	words *regexp.Regexp
}{
	{LMTP, regexp.MustCompile(`(?i)^220[ -].*\bLMTP\b`)},
	{SMTP, regexp.MustCompile(`(?i)^220[ -].*\bE?SMTP`)},
	{FTP, regexp.MustCompile(`(?i)^220[ -].*FTP`)},
	{NNTP, regexp.MustCompile(`(?i)^20[01] .*(?:\bNNTP\b|\bNNRP\b|InterNetNews|\bnews\b)`)},
}

// guessReply returns the protocol of a reply's first line, Plain if it is none for
// certain.
func guessReply(line []byte) Protocol {
	for _, protocol := range replyWords {
		if protocol.words.Match(line) {
			return protocol.name
		}
	}
	if replyRefusal.Match(line) || bytes.HasPrefix(line, []byte("220 ")) || bytes.HasPrefix(line, []byte("220-")) {
		return replies
	}
	return Plain
}

// replyEnd returns the length of said up to its first line that is not continued, of those after from; 0 while there
// is none. promised says that the last whole line is NNN-, so that another one follows. A packet of MySQL ends by its
// length.
func replyEnd(said []byte, from int) (end int, promised bool) {
	if size, ok := mysqlPacket(said); ok {
		if len(said) < size {
			size = 0
		}
		return size, false
	}
	for end = from; ; {
		n := bytes.IndexByte(said[end:], '\n') + 1
		if n == 0 {
			return 0, promised
		}
		line := said[end : end+n]
		end += n
		if promised = continues(line); !promised {
			return end, false
		}
	}
}

// continues reports whether line begins with NNN-, which means that another line follows (RFC 5321, section 4.2).
func continues(line []byte) bool {
	return len(line) > 3 && isDigit(line[0]) && isDigit(line[1]) && isDigit(line[2]) && line[3] == '-'
}
