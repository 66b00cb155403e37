package probe_test

import (
	"bufio"
	"io"
	"strings"
	"testing"
	"time"

	"greetd.example/internal/test/testserver"
	"greetd.example/pkg/probe"
)

// What a server says, and what that means: without Protocol unless one is given.
var greetings = []struct {
	protocol  probe.Protocol // that is asked for
	said      string
	status    probe.Status
	code      string // of the refusal
	temporary bool
	is        probe.Protocol // that is found
	software  string         // and version
}{
	// Guessed.
	{"", "220 mail.example ESMTP Postfix (Debian/GNU)\r\n", "ok", "", false, "smtp", "Postfix "},
	{"", "220-mail.example ESMTP Exim 4.96 Sun\r\n220 hi\r\n", "ok", "", false, "smtp", "Exim 4.96"},
	{"", "220 mail.example LMTP Dovecot ready\r\n", "ok", "", false, "lmtp", "Dovecot "},
	{"", "220 (vsFTPd 3.0.5)\r\n", "ok", "", false, "ftp", "vsFTPd 3.0.5"},
	{"", "220 ProFTPD Server (Debian) [::1]\r\n", "ok", "", false, "ftp", "ProFTPD "},
	{"", "220 hi\r\n", "ok", "", false, "", " "},
	{"", "220-a\r\n b\r\n220 c\r\n", "ok", "", false, "", " "},
	{"", "200 news.example InterNetNews NNRP server INN 2.7.1 ready\r\n", "ok", "", false, "nntp", "InterNetNews 2.7.1"},
	{"", "+OK Dovecot (Debian) ready.\r\n", "ok", "", false, "pop3", "Dovecot "},
	{"", "* OK [CAPABILITY IMAP4rev1] Dovecot (Debian) ready.\r\n", "ok", "", false, "imap", "Dovecot "},
	{"", "* PREAUTH hi\r\n", "ok", "", false, "imap", " "},
	{"", "\"IMPLEMENTATION\" \"Dovecot Pigeonhole\"\r\n\"SIEVE\" \"fileinto\"\r\nOK \"Dovecot ready.\"\r\n", "ok", "", false, "managesieve", "Dovecot Pigeonhole "},
	{"", "SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", "ok", "", false, "ssh", "OpenSSH 9.2p1"},
	{"", "SSH-2.0-dropbear_2022.83\r\n", "ok", "", false, "ssh", "dropbear 2022.83"},
	{"", "\x40\x00\x00\x00\x0a5.5.5-10.11.14-MariaDB-0\x00", "partial", "", false, "", " "},
	{"", "\x17\x00\x00\x00\x0a5.5.5-10.11.4-MariaDB\x00", "ok", "", false, "mysql", "MariaDB 10.11.4"},
	{"", "\x07\x00\x00\x00\x0a8.0.1\x00", "ok", "", false, "mysql", "MySQL 8.0.1"},

	{"", "Not allowed at this time\r\n", "refused_by_server", "", true, "ssh", " "},
	{"", "Exceeded MaxStartups\r\n", "refused_by_server", "", true, "ssh", " "},
	{"", "* BYE Disconnected\r\n", "refused_by_server", "BYE", false, "imap", " "},
	{"", "* bye [unavailable] later\r\n", "refused_by_server", "BYE", true, "imap", " "},
	{"", "-ERR no\r\n", "refused_by_server", "-ERR", false, "pop3", " "},
	{"", "-ERR [SYS/TEMP] no\r\n", "refused_by_server", "-ERR", true, "pop3", " "},
	{"", "421 mail.example too busy\r\n", "refused_by_server", "421", true, "", " "},
	{"", "421-a\r\n421 b\r\n", "refused_by_server", "421", true, "", " "},
	{"", "421 Service not available", "refused_by_server", "421", true, "", " "},
	{"", "554 mail.example no\r\n", "refused_by_server", "554", false, "", " "},
	{"", "421 \r\n", "refused_by_server", "421", true, "", " "},
	{"", "554-\r\n554 No SMTP service here\r\n", "refused_by_server", "554", false, "", " "},
	{"", "HTTP/1.0 408 Request Time-out\r\n\r\n", "refused_by_server", "408", true, "", " "},
	{"", "400 no\r\n", "refused_by_server", "400", true, "", " "},
	{"", "502 no permission\r\n", "refused_by_server", "502", false, "", " "},
	{"", "530 Sorry, the maximum number of clients (1) are connected\r\n", "refused_by_server", "530", false, "", " "},
	{"", "500 OOPS: vsftpd: no\r\n", "refused_by_server", "500", false, "", " "},
	{"", "500 FTP server shut down (going down at Sun Nov 29) -- please try again later\r\n", "refused_by_server", "500", true, "", " "},
	{"", "458 4.7.1 greylisted\r\n", "refused_by_server", "458", true, "", " "},
	{"", "220-wait\r\n521 5.7.1 Blocked\r\n", "refused_by_server", "521", false, "", " "},
	{"", "BYE (TRYLATER) \"full\"\r\n", "refused_by_server", "BYE", true, "managesieve", " "},
	{"", "NO \"never\"\r\n", "refused_by_server", "NO", false, "managesieve", " "},
	{"", "\x07\x00\x00\x01\xff\x6a\x04Host", "ok", "", false, "plain", " "}, // its number is not 0
	{"", "\x07\x00\x00\x00\xff\x6a\x04Host", "refused_by_server", "1130", false, "mysql", " "},
	{"", "\x0d\x00\x00\x00\xff\x10\x04#08004Many", "refused_by_server", "1040", true, "mysql", " "},
	{"", "HTTP/1.1 400 Bad Request\r\nServer: x\r\n\r\n", "refused_by_server", "400", false, "", " "},
	{"", "HTTP/1.0 503 Busy\r\n\r\n", "refused_by_server", "503", true, "", " "},
	{"", "\x15\x03\x01\x00\x02\x02\x46", "refused_by_server", "70", false, "", " "},
	{"", "\x15\x03\x03\x00\x02\x02\x0a", "refused_by_server", "10", false, "", " "},
	{"", "-DENIED Redis is running in protected mode\r\n", "refused_by_server", "DENIED", false, "", " "},

	// No guess can be wrong for these.
	{"", "welcome to port 421\r\n", "ok", "", false, "plain", " "},
	{"", "421\r\n", "ok", "", false, "plain", " "},
	{"", "4210 visitors\r\n", "ok", "", false, "plain", " "},
	{"", " 421 no\r\n", "ok", "", false, "plain", " "},
	{"", "421people\r\n", "ok", "", false, "plain", " "},
	{"", "500 users online\r\n", "ok", "", false, "plain", " "},
	{"", "404 Main Street\r\n", "ok", "", false, "plain", " "},
	{"", "999-a\r\n999 b\r\n", "ok", "", false, "plain", " "},
	{"", "250 ok\r\n", "ok", "", false, "plain", " "},
	{"", "200 visitors today\r\n", "ok", "", false, "plain", " "},
	{"", "-ERROR: none\r\n", "ok", "", false, "plain", " "},
	{"", "+OKAY\r\n", "ok", "", false, "plain", " "},
	{"", "* BYEBYE\r\n", "ok", "", false, "plain", " "},
	{"", "BYE now\r\n", "ok", "", false, "plain", " "},
	{"", "NO smoking\r\n", "ok", "", false, "plain", " "},
	{"", "Hello there, 192.0.2.1!\n", "ok", "", false, "plain", " "},
	{"", "It is Not allowed at this time\r\n", "ok", "", false, "plain", " "},
	{"", "HTTP/1.1 200 OK\r\n", "ok", "", false, "plain", " "},
	{"", "login: ", "ok", "", false, "plain", " "},
	{"", "SSH-like\r\n", "ok", "", false, "plain", " "},
	{"", "\"quoted\" \"words\"\r\n", "ok", "", false, "plain", " "},

	// With a protocol.
	{"plain", "421 busy\r\n", "ok", "", false, "plain", " "},
	{"smtp", "220-a\r\n220 b\r\n", "ok", "", false, "smtp", " "},
	{"smtp", "499 no\r\n", "refused_by_server", "499", true, "smtp", " "},
	{"smtp", "220-a\r\nb\r\n220 c\r\n", "wrong_protocol", "", false, "smtp", " "},
	{"smtp", "Hello\r\n", "wrong_protocol", "", false, "smtp", " "},
	{"smtp", "250 ok\r\n", "wrong_protocol", "", false, "smtp", " "},
	{"smtp", "220 no newline", "partial", "", false, "smtp", " "},
	{"lmtp", "220 hi\r\n", "ok", "", false, "lmtp", " "},
	{"ftp", "120 soon\r\n220 now\r\n", "ok", "", false, "ftp", " "},
	{"ftp", "220-a\r\n anything\r\n123\r\nb\r\n220 c\r\n", "wrong_protocol", "", false, "ftp", " "},
	{"ftp", "220-a\r\n anything\r\nb\r\n220 c\r\n", "ok", "", false, "ftp", " "},
	{"ftp", "120 soon\r\n", "partial", "", false, "ftp", " "},
	{"nntp", "201 no posting\r\n", "ok", "", false, "nntp", " "},
	{"nntp", "220 hi\r\n", "wrong_protocol", "", false, "nntp", " "},
	{"pop3", "* OK hi\r\n", "wrong_protocol", "", false, "pop3", " "},
	{"imap", "+OK hi\r\n", "wrong_protocol", "", false, "imap", " "},
	{"ssh", "hello\r\nSSH-1.99-x\r\n", "ok", "", false, "ssh", "x "},
	{"ssh", "SSH-2.0-\r\n", "wrong_protocol", "", false, "ssh", " "},
	{"ssh", "220 mail.example ESMTP\r\n", "wrong_protocol", "", false, "ssh", " "},
	{"managesieve", "\"IMPLEMENTATION\" {3}\r\na\"b\r\nOK\r\n", "ok", "", false, "managesieve", " "},
	{"managesieve", "OK\r\n", "ok", "", false, "managesieve", " "},
	{"mysql", "hi\n", "wrong_protocol", "", false, "mysql", " "},
	{"mysql", "Hello there\n", "wrong_protocol", "", false, "mysql", " "},
}

// The limit of the size, and a server that hangs up early, leave the meaning of a greeting as it is.
func TestGreetingIsCutOff(t *testing.T) {
	long := strings.Repeat("220-welcome to our archive\r\n", 200)
	for _, test := range []struct {
		protocol probe.Protocol
		server   testserver.Behavior
		status   probe.Status
		code     string
	}{
		{"", testserver.Greet("220-ftp.example FTP\r\n" + long + "220 hi\r\n"), probe.OK, ""},
		{"ftp", testserver.Greet(long + "220 hi\r\n"), probe.OK, ""},
		{"smtp", testserver.Greet("220 " + strings.Repeat("x", 5000) + "\r\n"), probe.OK, ""},
		{"smtp", testserver.Greet(strings.Repeat("x", 5000) + "\r\n"), probe.WrongProtocol, ""},
		{"pop3", testserver.Greet(long), probe.WrongProtocol, ""},
		{"", testserver.Greet(strings.Repeat("421-too many clients\r\n", 300) + "421 bye\r\n"), probe.RefusedByServer, "421"},
		{"ftp", testserver.Greet(strings.Repeat("530-too many clients\r\n", 300) + "530 bye\r\n"), probe.RefusedByServer, "530"},
		{"", testserver.GreetAndClose("554-mail.example\r\n"), probe.RefusedByServer, "554"},
		{"smtp", testserver.GreetAndClose("554-mail.example\r\n"), probe.RefusedByServer, "554"},
		{"smtp", testserver.GreetAndClose("220-mail.example\r\n"), probe.Closed, ""},
	} {
		r := ask(t, probe.Probe{Protocol: test.protocol}, test.server)
		code := ""
		if r.Refusal != nil {
			code = r.Refusal.Code
		}
		if r.Status != test.status || code != test.code {
			t.Errorf("%s %.20q: %s %q, %v; want %s %q", test.protocol, r.Greeting.Bytes, r.Status, code, r.Err, test.status, test.code)
		}
	}
}

func TestProtocols(t *testing.T) {
	for _, test := range greetings {
		t.Run(strings.TrimSpace(string(test.protocol)+" "+test.said), func(t *testing.T) {
			r := ask(t, probe.Probe{Protocol: test.protocol}, testserver.Greet(test.said))
			if r.Status != test.status || r.Protocol != test.is && r.Status != probe.Partial {
				t.Fatalf("%s, %s: %v; want %s, %s", r.Status, r.Protocol, r.Err, test.status, test.is)
			}
			if (r.Err == nil) != (r.Status == probe.OK) {
				t.Errorf("error = %v", r.Err)
			}
			if got := r.Software + " " + r.Version; got != test.software {
				t.Errorf("software %q, want %q", got, test.software)
			}
			switch {
			case (r.Refusal != nil) != (test.status == probe.RefusedByServer):
				t.Errorf("refusal = %+v", r.Refusal)
			case r.Refusal != nil && (r.Refusal.Code != test.code || r.Refusal.Temporary != test.temporary || r.Refusal.Text == ""):
				t.Errorf("refusal = %+v, want %s, temporary %v", r.Refusal, test.code, test.temporary)
			}
		})
	}
}

// A server that hangs up in the middle has greeted nobody, and a refusal cut off is one.
func TestGreetingsCutOff(t *testing.T) {
	for said, want := range map[string]probe.Status{
		"220-mail.example ESMTP\r\n":              probe.Closed,
		"220-a\r\n":                               probe.Closed,
		"\x40\x00\x00\x00\x0a5.5.5-10.11.14":      probe.Closed,
		"\x17\x00\x00\x00\xff\x6a\x04Host is not": probe.RefusedByServer,
		"421-a\r\n421 b":                          probe.RefusedByServer,
		"421 a":                                   probe.RefusedByServer,
		"220 a":                                   probe.OK,
		"hello":                                   probe.OK,
		"999-a\r\n":                               probe.OK,
	} {
		if r := ask(t, probe.Probe{}, testserver.GreetAndClose(said)); r.Status != want {
			t.Errorf("%q: %s %v, want %s", said, r.Status, r.Err, want)
		}
	}
	p := probe.Probe{Expect: []probe.Pattern{probe.Text("220")}}
	if r := ask(t, p, testserver.GreetAndClose("220-a\r\n")); r.Status != probe.OK {
		t.Errorf("what was expected came: %s %v", r.Status, r.Err)
	}
}

// Half a line is guessed only if the rest of it can't change the guess: what is silent now
// may go on.
func TestHalfLinesAreNotGuessed(t *testing.T) {
	for said, want := range map[string]struct {
		status   probe.Status
		protocol probe.Protocol
	}{
		"220":                      {probe.OK, probe.Plain},
		"220 hi":                   {probe.OK, ""},
		"+OK":                      {probe.OK, probe.Plain},
		"+OK hi":                   {probe.OK, probe.POP3},
		"-ERR":                     {probe.OK, probe.Plain},
		"-ERR busy":                {probe.RefusedByServer, probe.POP3},
		"* OK":                     {probe.OK, probe.Plain},
		"* BYE":                    {probe.OK, probe.Plain},
		"* BYE bye":                {probe.RefusedByServer, probe.IMAP},
		"421":                      {probe.OK, probe.Plain},
		"421 busy":                 {probe.RefusedByServer, ""},
		"HTTP/1.1 503":             {probe.OK, probe.Plain},
		"Not allowed at this time": {probe.OK, probe.Plain},
		"SSH-2.0":                  {probe.OK, probe.Plain},
		"welcome to port 421":      {probe.OK, probe.Plain},
	} {
		p := probe.Probe{Idle: 100 * time.Millisecond}
		if r := ask(t, p, testserver.Greet(said)); r.Status != want.status || r.Protocol != want.protocol {
			t.Errorf("%q, then silence: %s %q %v, want %s %q", said, r.Status, r.Protocol, r.Err, want.status, want.protocol)
		}
	}
}

// A refusal is never ok, whatever was expected, and comes at once.
func TestRefusalsAreNeverOK(t *testing.T) {
	for _, said := range []string{"421 mail.example busy\r\n", "421 mail.example busy", "* BYE mail.example\r\n"} {
		for _, p := range []probe.Probe{
			{Expect: []probe.Pattern{probe.Text("mail.example")}},
			{Expect: []probe.Pattern{probe.Text("220")}},
			{StartTLS: probe.SMTP},
		} {
			if r := ask(t, p, testserver.Greet(said)); r.Status != probe.RefusedByServer {
				t.Errorf("%q, expecting %v: %s %v", said, p.Expect, r.Status, r.Err)
			}
		}
	}
	begun := ask(t, probe.Probe{}, testserver.GreetInPieces(time.Second, "421-a\r\n", "421 b"))
	if begun.Status != probe.RefusedByServer {
		t.Errorf("%s %v", begun.Status, begun.Err)
	}
}

// A client that leaves says so in the protocol's words, and where nothing is known of
// the server it sends nothing.
func TestLeaving(t *testing.T) {
	for said, want := range map[string]string{
		"220 mail.example ESMTP\r\n":              "QUIT\r\n",
		"220 hi\r\n":                              "QUIT\r\n",
		"+OK hi\r\n":                              "QUIT\r\n",
		"* OK hi\r\n":                             "greet LOGOUT\r\n",
		"OK \"hi\"\r\n":                           "",
		"SSH-2.0-x\r\n":                           "SSH-2.0-greetprobe\r\n\x00\x00\x00",
		"hello\r\n":                               "",
		"554 no\r\n":                              "QUIT\r\n",
		"421 no\r\n":                              "",
		"* BYE no\r\n":                            "",
		"Not allowed at this time\r\n":            "",
		"\x07\x00\x00\x00\xff\x6a\x04Host":        "",
		"\x07\x00\x00\x00\x0a8.0.1\x00":           "\x42\x00\x00\x01",
		"\"SIEVE\" \"x\"\r\nOK\r\n":               "LOGOUT\r\n",
		"200 news.example InterNetNews ready\r\n": "QUIT\r\n",
		"HTTP/1.1 400 Bad Request\r\n":            "",
		"\x15\x03\x01\x00\x02\x02\x46":            "",
	} {
		var got strings.Builder
		done := make(chan struct{})
		server := testserver.Listen(t, func(c netConn) {
			defer close(done)
			_, _ = c.Write([]byte(said))
			buf := make([]byte, 512)
			n, _ := c.Read(buf)
			got.Write(buf[:n])
		})
		new(probe.Probe).Do(t.Context(), parse(t, server.Addr))
		<-done
		if !strings.HasPrefix(got.String(), want) || want == "" && got.String() != "" {
			t.Errorf("after %q it sent %q, want %q", said, got.String(), want)
		}
	}
}

// A server that refuses before anything of --send or the steps was sent is left as if they were not there.
func TestLeavingAfterRefusalOfConversation(t *testing.T) {
	for what, test := range map[string]struct {
		probe probe.Probe
		want  string
	}{
		"send":       {probe.Probe{Send: "EHLO me\r\n"}, "QUIT\r\n"},
		"steps":      {probe.Probe{Steps: steps(t, `send EHLO me\r\n`)}, "QUIT\r\n"},
		"send first": {probe.Probe{Send: "EHLO me\r\n", SendFirst: true}, "EHLO me\r\n"},
	} {
		recorded := make(chan string, 1)
		server := testserver.Listen(t, func(c netConn) {
			_, _ = c.Write([]byte("554 no\r\n"))
			said, _ := io.ReadAll(c)
			recorded <- string(said)
		})
		if r := test.probe.Do(t.Context(), parse(t, server.Addr)); r.Status != probe.RefusedByServer {
			t.Errorf("%s: %s %v", what, r.Status, r.Err)
		}
		if said := <-recorded; said != test.want {
			t.Errorf("%s: it sent %q, want %q", what, said, test.want)
		}
	}
}

// A server that does not do STARTTLS is left as politely as any other.
func TestLeavingWithoutTLS(t *testing.T) {
	for _, test := range []struct {
		protocol probe.Protocol
		server   func(command string) string
	}{
		{probe.SMTP, func(string) string { return "250 mail.example\r\n" }},
		{probe.POP3, func(string) string { return "-ERR no\r\n" }},
	} {
		recorded := make(chan string, 1)
		server := testserver.Listen(t, func(c netConn) {
			_, _ = c.Write([]byte(map[probe.Protocol]string{probe.SMTP: "220 hi ESMTP\r\n", probe.POP3: "+OK hi\r\n"}[test.protocol]))
			lines := bufio.NewScanner(c)
			lines.Scan()
			_, _ = c.Write([]byte(test.server(lines.Text())))
			lines.Scan()
			recorded <- lines.Text()
		})
		p := probe.Probe{StartTLS: test.protocol}
		if r := p.Do(t.Context(), parse(t, server.Addr)); r.Status != probe.TLSFailed {
			t.Errorf("%s: %s %v", test.protocol, r.Status, r.Err)
		}
		if last := <-recorded; last != "QUIT" {
			t.Errorf("%s: it left with %q", test.protocol, last)
		}
	}
}

// FuzzProtocols holds what foreign bytes mean against itself: it does not depend on the
// pieces in which they come, and nothing of it is invented.
func FuzzProtocols(f *testing.F) {
	for _, test := range greetings {
		f.Add(string(test.protocol), []byte(test.said), uint8(3))
	}
	f.Fuzz(func(t *testing.T, protocol string, said []byte, size uint8) {
		p := probe.Probe{Protocol: probe.Protocol(protocol)}
		if p.Validate() != nil || len(said) == 0 || len(said) > 300 {
			return
		}
		whole := ask(t, p, testserver.GreetAndClose(string(said)))
		inPieces := ask(t, p, func(c netConn) {
			for rest := said; len(rest) > 0; {
				n := min(len(rest), 1+int(size%16))
				_, _ = c.Write(rest[:n])
				rest = rest[n:]
				time.Sleep(time.Millisecond)
			}
		})
		if whole.Status != inPieces.Status || whole.Protocol != inPieces.Protocol || string(whole.Greeting.Bytes) != string(inPieces.Greeting.Bytes) {
			t.Fatalf("%q: %s %s %q at once, %s %s %q in pieces", said, whole.Status, whole.Protocol, whole.Greeting.Bytes, inPieces.Status, inPieces.Protocol, inPieces.Greeting.Bytes)
		}
		if !strings.HasPrefix(string(said), string(whole.Greeting.Bytes)) || !strings.Contains(string(said), whole.Software) || !strings.Contains(string(said), whole.Version) && whole.Version != "" {
			if whole.Software != "MySQL" && whole.Software != "MariaDB" {
				t.Errorf("%q: greeting %q, software %q %q", said, whole.Greeting.Bytes, whole.Software, whole.Version)
			}
		}
		if (whole.Status == probe.RefusedByServer) != (whole.Refusal != nil) {
			t.Errorf("%q: %s, refusal %+v", said, whole.Status, whole.Refusal)
		}
		if protocol == "" && whole.Status == probe.WrongProtocol {
			t.Errorf("%q: a guess was wrong", said)
		}
	})
}
