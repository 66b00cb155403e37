package probe

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"
)

var startTLS = map[StartTLS]upgrader{
	SMTP:        {greets: regexp.MustCompile(`^220`), ask: func(d dialogue) error { return d.esmtp("EHLO") }},
	LMTP:        {greets: regexp.MustCompile(`^220`), ask: func(d dialogue) error { return d.esmtp("LHLO") }},
	IMAP:        {greets: regexp.MustCompile(`^\* (?i:OK|PREAUTH)`), ask: dialogue.imap},
	POP3:        {greets: regexp.MustCompile(`^\+OK`), ask: func(d dialogue) error { return d.simple("STLS", "+OK") }},
	FTP:         {greets: regexp.MustCompile(`^220`), ask: func(d dialogue) error { return d.simple("AUTH TLS", "234") }},
	NNTP:        {greets: regexp.MustCompile(`^20[01]`), ask: func(d dialogue) error { return d.simple("STARTTLS", "382") }},
	ManageSieve: {greets: regexp.MustCompile(`^("|(?i:OK))`), ask: dialogue.managesieve},
	MySQL:       {greets: regexp.MustCompile(`(?s)^...\x00\x0a`), ask: dialogue.mysql},
	LDAP:        {ask: dialogue.ldap},
	XMPP:        {ask: dialogue.xmpp},
	Postgres:    {ask: dialogue.postgres},
}

// An upgrader starts TLS in a protocol.
type upgrader struct {
	greets *regexp.Regexp // the beginning of a greeting that is not a refusal; nil: the client sends first
	ask    func(dialogue) error
}

// Greets reports whether a server of this protocol sends a greeting. If it does not, no greeting is
// read before TLS.
func (s StartTLS) Greets() bool { return startTLS[s].greets != nil }

// StartTLSProtocols lists the protocols with STARTTLS.
func StartTLSProtocols() []StartTLS { return slices.Sorted(maps.Keys(startTLS)) }

func protocolNames() string {
	var names []string
	for _, protocol := range StartTLSProtocols() {
		names = append(names, string(protocol))
	}
	return strings.Join(names, ", ")
}

// upgrade starts TLS with the command of protocol, and reports whether w uses TLS then. rest is the
// text of the server after its greeting.
func (r *run) upgrade(w *wire, protocol StartTLS, rest []byte) bool {
	began := time.Now()
	w.wait(time.Until(w.until))
	greeting := orZero(r.Greeting).Bytes
	d := dialogue{bufio.NewReader(io.MultiReader(bytes.NewReader(rest), w)), w, r, greeting}
	upgrader := startTLS[protocol]
	var err error
	if upgrader.greets != nil && !upgrader.greets.Match(greeting) {
		line, _, _ := strings.Cut(string(greeting[:min(len(greeting), recorded)]), "\n")
		err = fmt.Errorf("the server does not greet as one of %s does, or refuses: %q", protocol, strings.TrimRight(line, "\r"))
	} else {
		err = upgrader.ask(d)
	}
	if err == nil && d.Buffered() > 0 {
		// CVE-2011-0411: an attacker in between could inject plain text before TLS.
		err = errors.New("the server said more in plain text after it agreed to TLS")
	}
	if err != nil {
		r.TLS = &TLS{}
		if refused := dismissal(protocol, err); refused != nil {
			r.refuse(PhaseTLS, *refused)
			return false
		}
		_, r.plain = errors.AsType[answerError](err)
		r.plain = r.plain || errors.Is(err, errNotOffered) || errors.Is(err, errNoTLS)
		r.broken(w, PhaseTLS, TLSFailed, dialogueReason(err, w))
		return false
	}
	return r.handshake(w, began)
}

// errNotOffered and errNoTLS are the errors if the capabilities of a server do not include TLS.
var (
	errNotOffered = errors.New("the server does not offer STARTTLS")
	errNoTLS      = errors.New("the server does not offer TLS")
)

// An answerError is the error of an unexpected answer.
type answerError struct{ command, answer string }

func (e answerError) Error() string {
	return fmt.Sprintf("the server refused %s: %q", e.command, e.answer)
}

// A refusedError is the error if a server refuses in another protocol than the one in which TLS was
// requested.
type refusedError struct{ Refusal }

func (e refusedError) Error() string { return fmt.Sprintf("the server refuses: %q", e.Text) }

// unexpected returns the error for an answer that does not belong to protocol. The answer begins with said.
func (d dialogue) unexpected(protocol string, said []byte) error {
	if idle := cmp.Or(d.r.p.Idle, DefaultIdle); idle > 0 {
		d.w.wait(idle) // for the rest of its line
	}
	more, _ := d.ReadSlice('\n')
	said = append(bytes.Clone(said), more[:min(len(more), recorded)]...)
	if rule, known := protocols[guess(said, true)]; known {
		if reading := rule.read(said, true); reading.kind == refusal {
			return refusedError{reading.refused}
		}
	}
	return fmt.Errorf("the server's answer is not %s: %q", protocol, said)
}

// dismissal returns the refusal with which the server ended the session, if err, the error of a dialogue
// in protocol, is one: 421, 400 or BYE, or any refusal of another protocol. It returns nil if the server
// refused only the command.
func dismissal(protocol StartTLS, err error) *Refusal {
	if other, ok := errors.AsType[refusedError](err); ok {
		return &other.Refusal
	}
	no, ok := errors.AsType[answerError](err)
	rule, known := protocols[protocol]
	if !ok || !known {
		return nil
	}
	reading := rule.read([]byte(no.answer), true)
	if reading.kind == refusal && slices.Contains([]string{"421", "400", "BYE"}, reading.refused.Code) {
		return &reading.refused
	}
	return nil
}

// A dialogue is commands and replies in plain text.
type dialogue struct {
	*bufio.Reader
	w        *wire
	r        *run
	greeting []byte
}

// say sends one command. It ignores errors: the next read returns the last text of the server, which has
// the reason, and then fails too.
func (d dialogue) say(command string) { _, _ = io.WriteString(d.w, command+"\r\n") }

func (d dialogue) line() (string, error) {
	line, err := d.ReadSlice('\n')
	if err != nil {
		return "", err
	}
	return strings.TrimRight(string(line), "\r\n"), nil
}

// The maximum sizes of an answer.
const (
	maxReply   = 100      // lines of a reply
	maxElement = 2048     // bytes of LDAP
	maxXML     = 16 << 10 // bytes of XMPP
)

// reply reads lines until last reports that a line is the last one.
func (d dialogue) reply(last func(line string) bool) ([]string, error) {
	var lines []string
	for len(lines) < maxReply {
		line, err := d.line()
		if err != nil {
			return nil, err
		}
		lines = append(lines, line)
		if last(line) {
			return lines, nil
		}
	}
	return nil, fmt.Errorf("the reply has more than %d lines", maxReply)
}

// final reports whether no line of the same reply follows (RFC 5321, section 4.2).
func final(line string) bool { return !continues([]byte(line)) }

// esmtp starts TLS according to RFC 3207; hello is EHLO, or LHLO in LMTP (RFC 2033).
func (d dialogue) esmtp(hello string) error {
	d.say(hello + " " + cmp.Or(d.r.p.EHLO, d.self()))
	offers, err := d.reply(final)
	if err != nil {
		return err
	}
	if last := offers[len(offers)-1]; !strings.HasPrefix(last, "250") {
		return answerError{hello, last}
	}
	starttls := func(line string) bool {
		return len(line) > 4 && strings.EqualFold(strings.TrimSpace(line[4:]), "STARTTLS")
	}
	if !slices.ContainsFunc(offers, starttls) {
		return errNotOffered
	}
	return d.simple("STARTTLS", "220")
}

func (d dialogue) simple(command, yes string) error { return d.ask(command, final, yes) }

// ask sends a command, and returns an error if the last line of the reply does not begin with yes.
func (d dialogue) ask(command string, last func(line string) bool, yes string) error {
	d.say(command)
	answer, err := d.reply(last)
	if err != nil {
		return err
	}
	return agreed(strings.TrimPrefix(command, imapTag), answer[len(answer)-1], yes)
}

// self returns the address of the client, as its name in EHLO (RFC 5321, section 4.1.3).
func (d dialogue) self() string {
	addr, ok := d.w.LocalAddr().(*net.TCPAddr)
	switch {
	case !ok:
		return "localhost"
	case addr.IP.To4() == nil:
		return "[IPv6:" + addr.IP.String() + "]"
	default:
		return "[" + addr.IP.String() + "]"
	}
}

// imapTag begins each command of IMAP, and the last line of its reply.
const imapTag = "greet "

var imapLast = regexp.MustCompile(`^` + imapTag + `|(?i)^\* BYE\b`)

// imap starts TLS according to RFC 9051, section 6.2.1.
func (d dialogue) imap() error { return d.ask(imapTag+"STARTTLS", imapLast.MatchString, imapTag+"OK") }

// managesieve starts TLS according to RFC 5804, section 2.2. The greeting lists the capabilities, up to a
// line that begins with OK.
func (d dialogue) managesieve() error {
	decided := regexp.MustCompile(`^(?i:OK|NO|BYE)\b`)
	lines := bytes.Split(bytes.TrimRight(d.greeting, "\r\n"), []byte("\n"))
	if !decided.Match(lines[len(lines)-1]) {
		if _, err := d.reply(decided.MatchString); err != nil {
			return err
		}
	}
	return d.ask("STARTTLS", decided.MatchString, "OK")
}

// mysql starts TLS with an SSLRequest, the first half of a login.
func (d dialogue) mysql() error {
	if d.greeting[4] != 10 {
		return errors.New("the server refuses clients in its greeting")
	}
	// After the version's text come a thread ID, 8 bytes of a nonce, a zero and the
	// lower flags.
	version := bytes.IndexByte(d.greeting[5:], 0)
	at := 5 + version + 1 + 4 + 8 + 1
	if version < 0 || len(d.greeting) < at+2 {
		return errors.New("the server's handshake packet is cut off")
	}
	if binary.LittleEndian.Uint16(d.greeting[at:])&mysqlSSL == 0 {
		return errNoTLS
	}
	return sendMySQL(d.w, 1, mysqlLoginHead(mysqlProtocol41|mysqlSSL|mysqlSecure, mysqlUTF8MB4))
}

// postgres starts TLS with an SSLRequest. The answer is one byte.
func (d dialogue) postgres() error {
	_, _ = d.w.Write([]byte{0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f})
	answer, err := d.ReadByte()
	switch {
	case err != nil:
		return err
	case answer == 'S' && d.Buffered() == 0: // else it may be "SSH-2.0 ..."
		return nil
	case answer == 'N' && d.Buffered() == 0: // else it may be "Not allowed ..."
		return errNoTLS
	case answer != 'E': // an error message of its protocol
		return d.unexpected("PostgreSQL", []byte{answer})
	}
	more, _ := d.Peek(d.Buffered())
	return fmt.Errorf("the server refused TLS: %q", append([]byte{answer}, more[:min(len(more), recorded)]...))
}

// ldap sends the extended request of RFC 4511, section 4.14.1.
func (d dialogue) ldap() error {
	const oid = "1.3.6.1.4.1.1466.20037"
	request := append([]byte{0x30, byte(3 + 4 + len(oid)), 0x02, 1, 1, 0x77, byte(2 + len(oid)), 0x80, byte(len(oid))}, oid...)
	_, _ = d.w.Write(request)
	answer, err := d.element()
	if err != nil {
		return err
	}
	// An ExtendedResponse, [APPLICATION 24], begins with its result code, an
	// ENUMERATED of one byte.
	at := bytes.Index(answer, []byte{0x0a, 1})
	if bytes.IndexByte(answer, 0x78) < 0 || at < 0 || at+2 >= len(answer) {
		return fmt.Errorf("the server refused StartTLS: %q", answer)
	}
	if code := answer[at+2]; code != 0 {
		_, rest := octets(answer[at+3:]) // matchedDN
		message, _ := octets(rest)
		return fmt.Errorf("the server refused StartTLS with result code %d: %q", code, message)
	}
	return nil
}

// octets splits ber after a short OCTET STRING at its beginning.
func octets(ber []byte) (content, rest []byte) {
	if len(ber) < 2 || ber[0] != 0x04 || len(ber) < 2+int(ber[1]) {
		return ber, nil
	}
	return ber[2 : 2+int(ber[1])], ber[2+int(ber[1]):]
}

// element reads the content of one BER sequence.
func (d dialogue) element() ([]byte, error) {
	head := make([]byte, 2)
	if _, err := io.ReadFull(d, head); err != nil {
		return nil, err
	}
	if head[0] != 0x30 {
		return nil, d.unexpected("LDAP", head)
	}
	size := int(head[1])
	if head[1] >= 0x80 {
		long := make([]byte, 4)
		n := int(head[1] - 0x80)
		if n > len(long) {
			return nil, errors.New("the server's answer is not LDAP")
		}
		if _, err := io.ReadFull(d, long[len(long)-n:]); err != nil {
			return nil, err
		}
		size = int(min(binary.BigEndian.Uint32(long), maxElement+1))
	}
	if size > maxElement {
		return nil, errors.New("the server's answer is too long")
	}
	content := make([]byte, size)
	_, err := io.ReadFull(d, content)
	return content, err
}

// xmpp starts TLS according to RFC 6120, section 5.4.
func (d dialogue) xmpp() error {
	var host bytes.Buffer
	name := d.r.Target.Host
	if c := d.r.p.TLS; c != nil {
		name = cmp.Or(c.ServerName, name)
	}
	_ = xml.EscapeText(&host, []byte(name)) // a Buffer takes everything
	d.say("<?xml version='1.0'?><stream:stream to='" + host.String() + "' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>")
	features, err := d.until("</stream:features>", "</stream:error>", "</stream:stream>")
	if err != nil {
		return err
	}
	if !strings.Contains(features, "urn:ietf:params:xml:ns:xmpp-tls") {
		if strings.Contains(features, "<stream:error") {
			return fmt.Errorf("the server refused the stream: %q", features)
		}
		return errNotOffered
	}
	d.say("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
	answer, err := d.until(">")
	if err != nil {
		return err
	}
	return agreed("STARTTLS", strings.TrimSpace(answer), "<proceed")
}

func (d dialogue) until(ends ...string) (string, error) {
	var b strings.Builder
	for b.Len() < maxXML {
		c, err := d.ReadByte()
		if err != nil {
			return "", err
		}
		if b.Len() == 0 && c != '<' && !strings.ContainsRune(" \t\r\n", rune(c)) {
			return "", d.unexpected("XMPP", []byte{c})
		}
		b.WriteByte(c)
		for _, end := range ends {
			if c == '>' && strings.HasSuffix(b.String(), end) {
				return b.String(), nil
			}
		}
	}
	return "", errors.New("the server's answer is too long")
}

// agreed returns nil if answer begins with yes, in upper or lower case.
func agreed(command, answer, yes string) error {
	if len(answer) >= len(yes) && strings.EqualFold(answer[:len(yes)], yes) {
		return nil
	}
	return answerError{command, answer}
}

func dialogueReason(err error, w *wire) error {
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return errors.New("the server's reply has a line that is too long")
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("no answer when asked for TLS %s", w.spent())
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the server closed the connection when asked for TLS")
	}
	return reason(err)
}
