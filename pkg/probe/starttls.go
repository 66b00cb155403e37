package probe

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"
)

// startTLS asks for TLS in each protocol that has STARTTLS.
var startTLS = map[StartTLS]func(dialogue) error{SMTP: dialogue.smtp, IMAP: dialogue.imap, POP3: dialogue.pop3}

// upgrade asks for TLS in the protocol's words, and reports whether w speaks it then.
// rest is what the server said after its greeting.
func (r *run) upgrade(w *wire, rest []byte) bool {
	began := time.Now()
	w.wait(time.Until(w.until))
	d := dialogue{bufio.NewReader(io.MultiReader(bytes.NewReader(rest), w)), w}
	err := startTLS[r.p.StartTLS](d)
	if err == nil && d.Buffered() > 0 {
		// CVE-2011-0411: whoever sits in between could put words into the server's mouth.
		err = errors.New("the server said more in plain text after it agreed to TLS")
	}
	if err != nil {
		r.TLS = &TLS{}
		r.broken(w, PhaseTLS, TLSFailed, dialogueReason(err, w))
		return false
	}
	return r.handshake(w, began)
}

// A dialogue is commands and replies in plain text.
type dialogue struct {
	*bufio.Reader
	w *wire
}

// say sends one command.
func (d dialogue) say(command string) error {
	_, err := io.WriteString(d.w, command+"\r\n")
	return err
}

// line reads one line, without its end.
func (d dialogue) line() (string, error) {
	line, err := d.ReadSlice('\n')
	if err != nil {
		return "", err
	}
	return strings.TrimRight(string(line), "\r\n"), nil
}

// maxReply is how many lines of a reply are read.
const maxReply = 100

// reply reads lines until last says that there are no more.
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

// smtp asks as RFC 3207 has it.
func (d dialogue) smtp() error {
	final := func(line string) bool { return !continues([]byte(line)) }
	if err := d.say("EHLO " + d.self()); err != nil {
		return err
	}
	offers, err := d.reply(final)
	if err != nil {
		return err
	}
	if last := offers[len(offers)-1]; !strings.HasPrefix(last, "250") {
		return fmt.Errorf("the server refused EHLO: %q", last)
	}
	offered := false
	for _, line := range offers {
		offered = offered || len(line) > 4 && strings.EqualFold(strings.TrimSpace(line[4:]), "STARTTLS")
	}
	if !offered {
		return errors.New("the server does not offer STARTTLS")
	}
	if err := d.say("STARTTLS"); err != nil {
		return err
	}
	answer, err := d.reply(final)
	if err != nil {
		return err
	}
	return agreed("STARTTLS", answer[len(answer)-1], "220")
}

// self names the client in EHLO by its address (RFC 5321, section 4.1.3).
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

// imap asks as RFC 9051, section 6.2.1 has it.
func (d dialogue) imap() error {
	if err := d.say("greet STARTTLS"); err != nil {
		return err
	}
	answer, err := d.reply(func(line string) bool { return strings.HasPrefix(line, "greet ") })
	if err != nil {
		return err
	}
	return agreed("STARTTLS", answer[len(answer)-1], "greet OK")
}

// pop3 asks as RFC 2595, section 4 has it.
func (d dialogue) pop3() error {
	if err := d.say("STLS"); err != nil {
		return err
	}
	answer, err := d.line()
	if err != nil {
		return err
	}
	return agreed("STLS", answer, "+OK")
}

// agreed returns nil if answer begins with yes, in capitals or not.
func agreed(command, answer, yes string) error {
	if len(answer) >= len(yes) && strings.EqualFold(answer[:len(yes)], yes) {
		return nil
	}
	return fmt.Errorf("the server refused %s: %q", command, answer)
}

// dialogueReason says in words why a dialogue ended early.
func dialogueReason(err error, w *wire) error {
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return errors.New("the server's reply has a line that is too long")
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("no answer when asked for TLS %s", w.spent())
	case errors.Is(err, io.EOF):
		return errors.New("the server closed the connection when asked for TLS")
	}
	return reason(err)
}
