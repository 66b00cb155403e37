package probe

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"
)

// A Protocol is the protocol of a server.
type Protocol string

// The protocols whose greetings are recognized.
const (
	SMTP        Protocol = "smtp"        // RFC 5321, RFC 3207
	LMTP        Protocol = "lmtp"        // RFC 2033
	SSH         Protocol = "ssh"         // RFC 4253, section 4.2
	FTP         Protocol = "ftp"         // RFC 959
	POP3        Protocol = "pop3"        // RFC 1939, RFC 2595
	IMAP        Protocol = "imap"        // RFC 9051
	ManageSieve Protocol = "managesieve" // RFC 5804
	NNTP        Protocol = "nntp"        // RFC 3977
	MySQL       Protocol = "mysql"       // the client/server protocol 10 of MySQL and MariaDB
	Plain       Protocol = "plain"       // any line: no refusal is recognized, and nothing is sent
)

// The protocols in which the client speaks first: for [Probe.StartTLS] only.
const (
	LDAP     Protocol = "ldap"     // RFC 4511, section 4.14
	XMPP     Protocol = "xmpp"     // RFC 6120, section 5
	Postgres Protocol = "postgres" // an SSLRequest packet
)

// Protocols lists every Protocol whose greetings are recognized.
func Protocols() []Protocol {
	return []Protocol{SMTP, LMTP, SSH, FTP, POP3, IMAP, ManageSieve, NNTP, MySQL, Plain}
}

// A Refusal is the answer of a server that refuses its service.
type Refusal struct {
	Code      string `json:"code"`      // the code of the server, such as "421", or a word such as "BYE" if the protocol has no codes
	Text      string `json:"words"`     // the text of the server, without the line end
	Temporary bool   `json:"temporary"` // the server says that the refusal is temporary
}

type kind int

const (
	incomplete kind = iota
	positive
	refusal
	foreign // not a greeting of this protocol
)

// A reading is the interpretation, by the rules of a protocol, of the text that was received so far.
type reading struct {
	kind     kind // may be known before the greeting is complete
	end      int  // length of the greeting in bytes; 0: not complete
	promised bool // more text must follow: silence does not complete the greeting
	answer   bool // Send was sent: end and promised concern the answer to it
	protocol Protocol
	software string // that the greeting names
	version  string
	refused  Refusal // if kind is refusal
}

// rules has the functions for one protocol, according to its standard.
type rules struct {
	// read interprets said, the text that was received so far. whole says that it is complete.
	read func(said []byte, whole bool) reading

	// leave ends the session, so that the server does not log a client that disappeared.
	leave func(io.ReadWriter) error

	// products matches the software that the greeting names: its name, then its version.
	products *regexp.Regexp
}

// protocols has the rules of each protocol except Plain.
var protocols = map[Protocol]rules{
	SMTP:        {codedReply("220"), say("QUIT\r\n"), smtpProducts},
	LMTP:        {codedReply("220"), say("QUIT\r\n"), smtpProducts},
	FTP:         {readFTP, say("QUIT\r\n"), ftpProducts},
	NNTP:        {codedReply("200", "201"), say("QUIT\r\n"), nntpProducts},
	POP3:        {oneLine(popStart, popTemporary, "+OK"), say("QUIT\r\n"), mailboxProducts},
	IMAP:        {oneLine(imapStart, imapTemporary, "OK", "PREAUTH"), say(imapTag + "LOGOUT\r\n"), mailboxProducts},
	ManageSieve: {readSieve, say("LOGOUT\r\n"), sieveProducts},
	SSH:         {readSSH, leaveSSH, sshProducts},
	MySQL:       {readMySQL, loginMySQL(1, mysqlCapabilities), nil},
	replies:     {readReply, say("QUIT\r\n"), nil},
	other:       {readOther, nil, nil},
}

// Further results of a guess.
const (
	replies Protocol = "replies" // one of SMTP, LMTP, FTP and NNTP, whose greetings look the same
	other   Protocol = "other"   // a refusal of a protocol that does not greet
)

func say(text string) func(io.ReadWriter) error {
	return func(c io.ReadWriter) error {
		_, err := io.WriteString(c, text)
		return err
	}
}

// read says what has been said means in the probe's protocol, or in the one that the
// first line or packet shows. whole: there will be no more.
func (r *run) read(said []byte, whole bool) reading {
	name := r.p.Protocol
	if name == "" {
		name = guess(said, whole)
		if half := whole && !r.over() && bytes.IndexByte(said, '\n') < 0; half && guess(append(slices.Clip(said), 'x'), true) != name {
			name = Plain // "+OK" may be the beginning of "+OKAY"
		}
	}
	rule, known := protocols[name]
	var result reading
	if known {
		result = rule.read(said, whole)
		if result.kind == foreign && r.p.Protocol == "" {
			name, known = Plain, false
		}
	}
	if !known {
		end, promised := replyEnd(said, 0)
		return reading{end: end, promised: promised, protocol: name}
	}
	r.rules = name
	if result.protocol = name; name == replies || name == other {
		result.protocol = ""
	}
	if rule.products != nil && result.kind == positive {
		if found := rule.products.FindSubmatch(said); found != nil {
			result.software, result.version = string(found[1]), string(found[2])
		}
	}
	return result
}

// guess returns the protocol that the first line, or packet, is of for certain; Plain if
// it is none of them, and "" while that is not known. whole: there will be no more.
func guess(said []byte, whole bool) Protocol {
	if _, ok := mysqlPacket(said); ok {
		return MySQL
	}
	if isAlert(said) {
		return other
	}
	line, size := firstLine(said, whole)
	if size == 0 {
		return ""
	}
	switch {
	case bytes.HasPrefix(line, []byte("SSH-")), slices.Contains(sshRefusals, string(line)):
		return SSH
	case popStart.Match(line):
		return POP3
	case imapStart.Match(line):
		return IMAP
	case sieveStart.Match(line):
		return ManageSieve
	case otherStart.Match(line):
		return other
	}
	return guessReply(line)
}

// classifyGreeting sets what the greeting says about the server, and the status of one that
// is a refusal, or not of the probe's protocol. It reports whether neither is so.
func (r *run) classifyGreeting(said reading) bool {
	r.Protocol, r.Software, r.Version = said.protocol, said.software, said.version
	if text := r.Greeting.Bytes; said.kind == positive && r.p.Protocol != "" && r.p.Protocol != MySQL && !bytes.HasSuffix(text, []byte("\n")) {
		said.kind = incomplete // its line has no end
	}
	first, _ := firstLine(r.Greeting.Bytes, true)
	line := strings.TrimSpace(string(first[:min(len(first), recorded)]))
	switch {
	case said.kind == refusal:
		r.refuse(PhaseGreeting, said.refused)
	case r.p.Protocol == "" && said.promised && said.protocol != Plain && r.Greeting.End == EndEOF:
		r.fail(PhaseGreeting, Closed, errors.New("the server closed the connection before its greeting was complete"))
	case r.p.Protocol == "" || r.p.Protocol == Plain || said.kind == positive:
		return true
	case said.kind == incomplete && r.Greeting.End == EndEOF:
		r.fail(PhaseGreeting, Closed, fmt.Errorf("the server closed the connection before its %s greeting was complete", r.p.Protocol))
	case said.kind == incomplete && (r.Greeting.End == EndMatch || r.Greeting.End == EndMax):
		return true // what was read belongs to the protocol
	case said.kind == incomplete && r.Greeting.End == EndIdle:
		r.fail(PhaseGreeting, Partial, fmt.Errorf("the %s greeting was not complete when the server fell silent", r.p.Protocol))
	default:
		r.fail(PhaseGreeting, WrongProtocol, fmt.Errorf("this is no %s greeting: %q", r.p.Protocol, line))
	}
	return false
}

// leaveTime is how long a server may take to answer a goodbye: a few round trips, so that one
// that ignores it costs little.
func (r *run) leaveTime() time.Duration {
	roundTrip := time.Duration(0)
	if r.Timing.Connect != nil {
		roundTrip = *r.Timing.Connect
	}
	return min(lastWord, 100*time.Millisecond+4*roundTrip)
}

// leave says goodbye as the protocol wants it.
func (r *run) leave(w *wire) {
	rule := protocols[r.rules]
	own := r.p.Send != "" || len(r.p.Steps) > 0
	unsent := r.Refusal != nil && !r.p.SendFirst && len(r.Steps) == 0
	switch {
	case own && !unsent: // what is sent is as the caller wants it
		return
	case rule.leave == nil || r.p.HangUp == Abruptly || r.Greeting == nil || len(r.Greeting.Bytes) == 0:
		return
	case r.Refusal != nil && !strings.HasPrefix(r.Refusal.Code, "5"): // the server hangs up by itself
		return
	case r.Protocol == MySQL && (r.Refusal != nil || len(r.Greeting.Bytes) < 4), r.Status == WrongProtocol, r.Greeting.End == EndMax:
		return
	}
	leave := rule.leave
	if r.Protocol == MySQL && r.p.StartTLS != "" && r.TLS != nil && r.TLS.Version != "" {
		leave = loginMySQL(2, mysqlCapabilities|mysqlSSL) // packet 1 was the SSLRequest
	}
	w.wait(r.leaveTime())
	if err := leave(w); err == nil {
		_, _ = io.CopyN(io.Discard, w, 64<<10)
	}
}
