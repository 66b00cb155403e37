package probe_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	proxyproto "github.com/pires/go-proxyproto"

	"greetd.example/internal/test/testserver"
	"greetd.example/pkg/probe"
)

// over speaks TLS with cert, then does as behavior.
func over(cert tls.Certificate, behavior testserver.Behavior) testserver.Behavior {
	return func(c net.Conn) {
		secure := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}})
		if secure.Handshake() == nil {
			behavior(secure)
			secure.Close()
		}
	}
}

func TestTLS(t *testing.T) {
	ca := testserver.NewAuthority(t)
	local := []net.IP{net.IPv4(127, 0, 0, 1)}
	good := ca.Sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: "good"}, DNSNames: []string{"mail.example"}, IPAddresses: local})
	old := time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)
	expired := ca.Sign(t, &x509.Certificate{NotBefore: old.Add(-time.Hour), NotAfter: old, IPAddresses: local})
	next := time.Date(2999, 2, 3, 4, 5, 6, 0, time.UTC)
	early := ca.Sign(t, &x509.Certificate{NotBefore: next, NotAfter: next.Add(time.Hour), IPAddresses: local})
	other := ca.Sign(t, &x509.Certificate{DNSNames: []string{"other.example", "b.example"}})
	self := (*testserver.Authority)(nil).Sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: "self"}, IPAddresses: local})
	strange := testserver.NewAuthority(t).Sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: "strange"}, IPAddresses: local})
	trust := func() *tls.Config { return &tls.Config{RootCAs: ca.Pool()} }

	for _, test := range []struct {
		name     string
		behavior testserver.Behavior
		config   *tls.Config
		status   probe.Status
		err      string
		verified bool
		problem  string
	}{
		{name: "good", behavior: over(good, testserver.Greet("hi\n")), config: trust(), status: probe.OK, verified: true},
		{name: "by name", behavior: over(good, testserver.Greet("hi\n")), config: &tls.Config{RootCAs: ca.Pool(), ServerName: "mail.example"}, status: probe.OK, verified: true},
		{name: "expired", behavior: over(expired, testserver.Silent), config: trust(), status: probe.TLSFailed, err: "the certificate expired at 2001-02-03T04:05:06Z"},
		{name: "not yet valid", behavior: over(early, testserver.Silent), config: trust(), status: probe.TLSFailed, err: "the certificate is not valid before 2999-02-03T04:05:06Z"},
		{name: "another name", behavior: over(other, testserver.Silent), config: trust(), status: probe.TLSFailed, err: "the certificate is for other.example, b.example, not for 127.0.0.1"},
		{name: "self-signed", behavior: over(self, testserver.Silent), config: trust(), status: probe.TLSFailed, err: "the certificate is self-signed"},
		{name: "unknown authority", behavior: over(strange, testserver.Silent), config: trust(), status: probe.TLSFailed, err: "the certificate is signed by an unknown authority, CN=Test CA: one that is trusted has the same name and another key"},
		{name: "self-signed, insecure", behavior: over(self, testserver.Greet("hi\n")), config: &tls.Config{InsecureSkipVerify: true}, status: probe.OK, problem: "the certificate is self-signed"},
		{name: "plain text", behavior: testserver.Greet("220 mail.example ESMTP\r\n"), config: trust(), status: probe.TLSFailed, err: `the server spoke plain text, not TLS: "220 mail.example ESMTP"`},
		{name: "plain text, hostile and slow", behavior: testserver.GreetInPieces(10*time.Millisecond, "\x1b[2J220", " h", "i\nmore"), config: trust(), status: probe.TLSFailed, err: `the server spoke plain text, not TLS: "\x1b[2J220 hi"`},
		{name: "hangs up", behavior: testserver.Close, config: trust(), status: probe.TLSFailed, err: "the server closed the connection during the TLS handshake"},
		{name: "hangs up in a record", behavior: func(c net.Conn) { c.Read(make([]byte, 4096)); io.WriteString(c, "\x16\x03") }, config: trust(), status: probe.TLSFailed, err: "the server closed the connection during the TLS handshake"},
		{name: "silent", behavior: testserver.Silent, config: trust(), status: probe.TLSFailed, err: "no answer to the TLS handshake within 1s"},
		{name: "an older version", behavior: func(c net.Conn) {
			tls.Server(c, &tls.Config{Certificates: []tls.Certificate{good}, MaxVersion: tls.VersionTLS12}).Handshake()
		}, config: &tls.Config{RootCAs: ca.Pool(), MinVersion: tls.VersionTLS13}, status: probe.TLSFailed, err: "the server refused the TLS handshake: protocol version not supported; it speaks none of TLS 1.3"},
		{name: "silent after the handshake", behavior: over(good, testserver.Silent), config: trust(), status: probe.NoGreeting, err: "connected, but the server said nothing within 1s", verified: true},
		{name: "hangs up after the handshake", behavior: over(good, testserver.Close), config: trust(), status: probe.Closed, err: "the server closed the connection without sending anything", verified: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := testserver.Listen(t, test.behavior)
			p := probe.Probe{TLS: test.config, Read: time.Second}
			r := p.Do(t.Context(), parse(t, server.Addr))
			got := ""
			if r.Err != nil {
				got = r.Err.Error()
			}
			if r.Status != test.status || got != test.err {
				t.Errorf("%s %q, want %s %q", r.Status, got, test.status, test.err)
			}
			if r.TLS == nil || r.TLS.Verified != test.verified {
				t.Fatalf("TLS = %+v, want verified = %v", r.TLS, test.verified)
			}
			if test.problem != "" && r.TLS.Problem != test.problem {
				t.Errorf("problem = %q, want %q", r.TLS.Problem, test.problem)
			}
			if strings.Contains(test.err, "certificate") && r.TLS.NotAfter.IsZero() {
				t.Errorf("a certificate that can't be trusted is not told: %+v", r.TLS)
			}
		})
	}
}

// Many servers hang up without the close_notify that TLS wants, and some in the middle of
// a record: what they said before counts.
func TestTLSWithoutCloseNotify(t *testing.T) {
	ca := testserver.NewAuthority(t)
	cert := ca.Sign(t, &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}})
	for what, last := range map[string]string{"no record": "", "a part of one": "\x17\x03"} {
		says := func(text string) probe.Target {
			return parse(t, testserver.Listen(t, func(c net.Conn) {
				secure := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}})
				if secure.Handshake() == nil {
					io.WriteString(secure, text)
				}
				io.WriteString(c, last)
			}).Addr)
		}
		hello := says("hello") // no newline: only the end of the connection ends it
		p := probe.Probe{TLS: &tls.Config{RootCAs: ca.Pool()}, Idle: -1, Protocol: probe.Plain}
		if r := p.Do(t.Context(), hello); r.Status != probe.OK || r.Greeting.End != probe.EndEOF || string(r.Greeting.Bytes) != "hello" {
			t.Errorf("%s: %s %v, greeting %+v", what, r.Status, r.Err, r.Greeting)
		}
		if r := p.Do(t.Context(), says("")); r.Status != probe.Closed {
			t.Errorf("%s, and no word: %s %v", what, r.Status, r.Err)
		}
		p.Steps = []probe.Step{probe.ExpectStep(probe.Text("goodbye"))}
		if r := p.Do(t.Context(), hello); r.Status != probe.Mismatch || !strings.Contains(r.Err.Error(), "the server closed the connection") {
			t.Errorf("%s, in a step: %s %v", what, r.Status, r.Err)
		}
	}
}

func TestTLSTellsTheCertificate(t *testing.T) {
	ca := testserver.NewAuthority(t)
	until := time.Now().Add(48 * time.Hour).Truncate(time.Second).UTC()
	cert := ca.Sign(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "mail"}, DNSNames: []string{"mail.example"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: until.Add(-72 * time.Hour), NotAfter: until,
	})
	server := testserver.Listen(t, over(cert, testserver.Greet("hi\n")))
	target := parse(t, server.Addr)
	target.Host, target.Addr = "mail.example", addr("127.0.0.1")
	p := probe.Probe{TLS: &tls.Config{RootCAs: ca.Pool()}}
	r := p.Do(t.Context(), target)
	tl := r.TLS
	if r.Status != probe.OK || tl.Version != "TLS 1.3" || tl.Cipher == "" || tl.ServerName != "mail.example" || tl.Subject != "CN=mail" || tl.Issuer != "CN=Test CA" || !tl.NotAfter.Equal(until) {
		t.Errorf("%s %v %+v", r.Status, r.Err, tl)
	}
	if strings.Join(tl.Names, " ") != "mail.example 127.0.0.1" {
		t.Errorf("names = %q", tl.Names)
	}
	if r.Timing.TLS == nil || *r.Timing.TLS <= 0 {
		t.Errorf("%+v", r.Timing)
	}
}

// scripted answers each line that begins as the first word of a step with its second,
// and starts TLS after the step whose third is "tls".
func scripted(cert tls.Certificate, greeting string, steps ...[3]string) testserver.Behavior {
	return func(c net.Conn) {
		io.WriteString(c, greeting)
		lines := bufio.NewReader(c)
		for _, step := range steps {
			line, err := lines.ReadString('\n')
			if err != nil {
				return
			}
			if !strings.HasPrefix(line, step[0]) {
				io.WriteString(c, "500 "+line)
				return
			}
			io.WriteString(c, step[1])
			if step[2] == "tls" {
				over(cert, testserver.Silent)(c)
				return
			}
		}
		testserver.Silent(c)
	}
}

// binary waits for a request, answers it, and starts TLS.
func binary(cert tls.Certificate, request, answer string) testserver.Behavior {
	return func(c net.Conn) {
		got := make([]byte, len(request))
		if _, err := io.ReadFull(c, got); err != nil || string(got) != request {
			io.WriteString(c, "?")
			return
		}
		io.WriteString(c, answer)
		over(cert, testserver.Silent)(c)
	}
}

const ldapStartTLS = "\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037"

// mysql greets as MariaDB does, with these of the lower capability flags.
func mysql(cert tls.Certificate, flags uint16) testserver.Behavior {
	return func(c net.Conn) {
		payload := "\x0a11.8.3\x00" + "\x01\x00\x00\x00" + "12345678" + "\x00" + string([]byte{byte(flags), byte(flags >> 8)}) + strings.Repeat("\x00", 30)
		io.WriteString(c, string([]byte{byte(len(payload)), 0, 0, 0})+payload)
		request := make([]byte, 36)
		if _, err := io.ReadFull(c, request); err == nil && request[0] == 32 && request[3] == 1 && request[5]&0x08 != 0 {
			over(cert, testserver.Silent)(c)
		}
	}
}

func xmpp(cert tls.Certificate, feature, answer string) testserver.Behavior {
	return func(c net.Conn) {
		in := bufio.NewReader(c)
		in.ReadString('>')
		if stream, _ := in.ReadString('>'); !strings.Contains(stream, "to='127.0.0.1'") {
			return
		}
		io.WriteString(c, "<?xml version='1.0'?><stream:stream id='1'><stream:features>"+feature+"</stream:features>")
		in.ReadString('\n')
		in.ReadString('\n')
		io.WriteString(c, answer)
		over(cert, testserver.Silent)(c)
	}
}

func TestOwnName(t *testing.T) {
	ca := testserver.NewAuthority(t)
	server := testserver.Listen(t, scripted(ca.Sign(t, named("x")), "220 hi\r\n",
		[3]string{"EHLO probe.example\r\n", "250 STARTTLS\r\n", ""}, [3]string{"STARTTLS", "220 go\r\n", "tls"}))
	p := probe.Probe{StartTLS: probe.SMTP, EHLO: "probe.example", TLS: &tls.Config{RootCAs: ca.Pool()}}
	if r := p.Do(t.Context(), parse(t, server.Addr)); r.Status != probe.OK {
		t.Errorf("%s %v", r.Status, r.Err)
	}
}

func TestStartTLS(t *testing.T) {
	ca := testserver.NewAuthority(t)
	cert := ca.Sign(t, &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}})
	const hello = "220-mail.example\r\n220 ESMTP\r\n"
	ehlo := [3]string{"EHLO [127.0.0.1]\r\n", "250-mail.example\r\n250-starttls\r\n250 SIZE\r\n", ""}
	for _, test := range []struct {
		name     string
		protocol probe.StartTLS
		behavior testserver.Behavior
		status   probe.Status
		err      string
	}{
		{"smtp", probe.SMTP, scripted(cert, hello, ehlo, [3]string{"STARTTLS\r\n", "220 go\r\n", "tls"}), probe.OK, ""},
		{"imap", probe.IMAP, scripted(cert, "* OK hi\r\n", [3]string{"greet STARTTLS\r\n", "* CAPABILITY X\r\ngreet OK go\r\n", "tls"}), probe.OK, ""},
		{"pop3", probe.POP3, scripted(cert, "+OK hi\r\n", [3]string{"STLS\r\n", "+OK go\r\n", "tls"}), probe.OK, ""},
		{"lmtp", probe.LMTP, scripted(cert, "220 hi LMTP\r\n", [3]string{"LHLO [127.0.0.1]\r\n", "250-mail\r\n250 STARTTLS\r\n", ""}, [3]string{"STARTTLS\r\n", "220 go\r\n", "tls"}), probe.OK, ""},
		{"ftp", probe.FTP, scripted(cert, "220-hi\r\n220 ftp\r\n", [3]string{"AUTH TLS\r\n", "234 go\r\n", "tls"}), probe.OK, ""},
		{"nntp", probe.NNTP, scripted(cert, "201 hi\r\n", [3]string{"STARTTLS\r\n", "382 go\r\n", "tls"}), probe.OK, ""},
		{"managesieve", probe.ManageSieve, scripted(cert, "\"IMPLEMENTATION\" \"x\"\r\n\"STARTTLS\"\r\nOK \"hi\"\r\n", [3]string{"STARTTLS\r\n", "OK \"go\"\r\n", "tls"}), probe.OK, ""},
		{"ftp refused", probe.FTP, scripted(cert, "220 ftp\r\n", [3]string{"AUTH TLS\r\n", "530 Please login\r\n", ""}), probe.TLSFailed, `the server refused AUTH TLS: "530 Please login"`},
		{"nntp refused", probe.NNTP, scripted(cert, "200 hi\r\n", [3]string{"STARTTLS\r\n", "580 no\r\n", ""}), probe.TLSFailed, `the server refused STARTTLS: "580 no"`},
		{"managesieve refused", probe.ManageSieve, scripted(cert, "\"SASL\" \"\"\r\nOK\r\n", [3]string{"STARTTLS\r\n", "NO \"no TLS\"\r\n", ""}), probe.TLSFailed, `the server refused STARTTLS: "NO \"no TLS\""`},
		{"last words of who hangs up", probe.SMTP, testserver.GreetAndClose(hello + "421 shutting down\r\n"), probe.RefusedByServer, `refused by the server for now: "421 shutting down"`},
		{"mysql", probe.MySQL, mysql(cert, 0x0800), probe.OK, ""},
		{"mysql without TLS", probe.MySQL, mysql(cert, 0), probe.TLSFailed, "the server does not offer TLS"},
		{"postgres", probe.Postgres, binary(cert, "\x00\x00\x00\x08\x04\xd2\x16\x2f", "S"), probe.OK, ""},
		{"postgres without TLS", probe.Postgres, binary(cert, "\x00\x00\x00\x08\x04\xd2\x16\x2f", "N"), probe.TLSFailed, "the server does not offer TLS"},
		{"postgres refused", probe.Postgres, binary(cert, "\x00\x00\x00\x08\x04\xd2\x16\x2f", "Etoo many clients\x00"), probe.TLSFailed, `the server refused TLS: "Etoo many clients\x00"`},
		{"ldap", probe.LDAP, binary(cert, ldapStartTLS, "\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00"), probe.OK, ""},
		{"ldap refused", probe.LDAP, binary(cert, ldapStartTLS, "\x30\x0e\x02\x01\x01\x78\x09\x0a\x01\x02\x04\x00\x04\x02no"), probe.TLSFailed, `the server refused StartTLS with result code 2: "no"`},
		{"ldap, no LDAP", probe.LDAP, binary(cert, ldapStartTLS, "220 mail\r\n"), probe.TLSFailed, `the server's answer is not LDAP: "220 mail\r\n"`},
		{"ldap, HTTP", probe.LDAP, binary(cert, ldapStartTLS, "HTTP/1.1 400"), probe.RefusedByServer, `refused by the server: "HTTP/1.1 400"`},
		{"xmpp, a mail server that refuses", probe.XMPP, testserver.GreetInPieces(20*time.Millisecond, "5", "54 no\r\n"), probe.RefusedByServer, `refused by the server: "554 no"`},
		{"postgres, SSH", probe.Postgres, testserver.Greet("SSH-2.0-x\r\n"), probe.TLSFailed, `the server's answer is not PostgreSQL: "SSH-2.0-x\r\n"`},
		{"postgres, SSH that refuses", probe.Postgres, testserver.Greet("Not allowed at this time\r\n"), probe.RefusedByServer, `refused by the server for now: "Not allowed at this time"`},
		{"xmpp", probe.XMPP, xmpp(cert, "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>", "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"), probe.OK, ""},
		{"xmpp not offered", probe.XMPP, xmpp(cert, "", ""), probe.TLSFailed, "the server does not offer STARTTLS"},
		{"xmpp refused", probe.XMPP, xmpp(cert, "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>", "<failure/>"), probe.TLSFailed, `the server refused STARTTLS: "<failure/>"`},
		{"another protocol", probe.IMAP, testserver.Greet(hello), probe.TLSFailed, `the server does not greet as one of imap does, or refuses: "220-mail.example"`},
		{"refused in the greeting", probe.SMTP, testserver.GreetAndClose("554 not you\r\n"), probe.RefusedByServer, `refused by the server: "554 not you"`},
		{"not offered", probe.SMTP, scripted(cert, hello, [3]string{"EHLO", "250 mail.example\r\n", ""}), probe.TLSFailed, "the server does not offer STARTTLS"},
		{"EHLO refused", probe.SMTP, scripted(cert, hello, [3]string{"EHLO", "502 no\r\n", ""}), probe.TLSFailed, `the server refused EHLO: "502 no"`},
		{"refused", probe.SMTP, scripted(cert, hello, ehlo, [3]string{"STARTTLS", "454 not\x1b now\r\n", ""}), probe.TLSFailed, `the server refused STARTTLS: "454 not\x1b now"`},
		{"session ended after EHLO", probe.SMTP, scripted(cert, hello, [3]string{"EHLO", "421 4.3.2 busy\r\n", ""}), probe.RefusedByServer, `refused by the server for now: "421 4.3.2 busy"`},
		{"session ended", probe.SMTP, scripted(cert, hello, ehlo, [3]string{"STARTTLS", "421-4.3.2 so\r\n421 4.3.2 busy\r\n", ""}), probe.RefusedByServer, `refused by the server for now: "421 4.3.2 busy"`},
		{"imap session ended", probe.IMAP, scripted(cert, "* OK\r\n", [3]string{"greet", "* BYE queue full\r\n", ""}), probe.RefusedByServer, `refused by the server: "* BYE queue full"`},
		{"managesieve session ended", probe.ManageSieve, scripted(cert, "\"SASL\" \"\"\r\nOK\r\n", [3]string{"STARTTLS\r\n", "BYE (TRYLATER) \"x\"\r\n", ""}), probe.RefusedByServer, `refused by the server for now: "BYE (TRYLATER) \"x\""`},
		{"imap refused", probe.IMAP, scripted(cert, "* OK\r\n", [3]string{"greet", "greet BAD what\r\n", ""}), probe.TLSFailed, `the server refused STARTTLS: "greet BAD what"`},
		{"pop3 refused", probe.POP3, scripted(cert, "+OK\r\n", [3]string{"STLS", "-ERR no\r\n", ""}), probe.TLSFailed, `the server refused STLS: "-ERR no"`},
		{"injection", probe.SMTP, scripted(cert, hello, ehlo, [3]string{"STARTTLS", "220 go\r\n250 evil\r\n", "tls"}), probe.TLSFailed, "the server said more in plain text after it agreed to TLS"},
		{"silent", probe.SMTP, testserver.Greet(hello), probe.TLSFailed, "no answer when asked for TLS within 1s"},
		{"hangs up", probe.SMTP, scripted(cert, hello, [3]string{"never", "", ""}), probe.TLSFailed, ""},
		{"endless", probe.SMTP, scripted(cert, hello, [3]string{"EHLO", strings.Repeat("250-x\r\n", 1000), ""}), probe.TLSFailed, "the reply has more than 100 lines"},
		{"endless line", probe.SMTP, scripted(cert, hello, [3]string{"EHLO", strings.Repeat("x", 10000), ""}), probe.TLSFailed, "the server's reply has a line that is too long"},
		{"no greeting", probe.SMTP, testserver.Silent, probe.NoGreeting, "connected, but the server said nothing within 1s"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := testserver.Listen(t, test.behavior)
			p := probe.Probe{StartTLS: test.protocol, TLS: &tls.Config{RootCAs: ca.Pool()}, Read: time.Second}
			r := p.Do(t.Context(), parse(t, server.Addr))
			if r.Status != test.status || test.err != "" && r.Err.Error() != test.err {
				t.Errorf("%s %v, want %s %q", r.Status, r.Err, test.status, test.err)
			}
			if test.status != probe.OK {
				return
			}
			if r.TLS == nil || !r.TLS.Verified || r.Timing.TLS == nil || (r.Timing.Greeting != nil) != test.protocol.Greets() {
				t.Errorf("TLS = %+v, timing %+v", r.TLS, r.Timing)
			}
		})
	}
}

func TestStartTLSJudgesThePlainGreeting(t *testing.T) {
	cert := (*testserver.Authority)(nil).Sign(t, &x509.Certificate{})
	server := testserver.Listen(t, scripted(cert, "220-mail\r\n220 ESMTP\r\n",
		[3]string{"EHLO", "250 STARTTLS\r\n", ""}, [3]string{"STARTTLS", "220 go\r\n", "tls"}))
	p := probe.Probe{StartTLS: probe.SMTP, TLS: &tls.Config{InsecureSkipVerify: true}, Expect: []probe.Pattern{probe.Text("mail")}}
	r := p.Do(t.Context(), parse(t, server.Addr))
	if r.Status != probe.OK || string(r.Greeting.Bytes) != "220-mail\r\n220 ESMTP\r\n" || !r.Expect.Matched {
		t.Errorf("%s %v %q %+v", r.Status, r.Err, r.Greeting.Bytes, r.Expect)
	}
	p.Expect = []probe.Pattern{probe.Text("nothing")}
	if r = p.Do(t.Context(), parse(t, server.Addr)); r.Status != probe.Mismatch || r.TLS != nil {
		t.Errorf("%s %v, TLS %+v", r.Status, r.Err, r.TLS)
	}
}

func TestProxyHeader(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		for version := 1; version <= 2; version++ {
			header := make(chan *proxyproto.Header, 1)
			behavior := func(c net.Conn) {
				h, _ := proxyproto.Read(bufio.NewReader(c))
				header <- h
				testserver.Greet("hi\n")(c)
			}
			address, target := "127.0.0.1:0", ""
			if network == "unix" {
				address = t.TempDir() + "/s"
				target = "unix:"
			}
			server := testserver.ListenOn(t, network, address, behavior)
			p := probe.Probe{Proxy: version}
			r := p.Do(t.Context(), parse(t, target+server.Addr))
			h := <-header
			if r.Status != probe.OK || h == nil || int(h.Version) != version || r.Timing.Proxy == nil {
				t.Errorf("%s, version %d: %s %v, header %v", network, version, r.Status, r.Err, h)
				continue
			}
			if network == "tcp" && (h.SourceAddr.String() != r.Local || h.DestinationAddr.String() != r.Remote) {
				t.Errorf("header says %s to %s, want %s to %s", h.SourceAddr, h.DestinationAddr, r.Local, r.Remote)
			}
		}
	}
}

func TestProxyHeaderComesBeforeTLS(t *testing.T) {
	ca := testserver.NewAuthority(t)
	cert := ca.Sign(t, &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}})
	server := testserver.Listen(t, func(c net.Conn) {
		var line []byte
		for b := make([]byte, 1); !bytes.HasSuffix(line, []byte("\n")); line = append(line, b...) {
			if _, err := c.Read(b); err != nil {
				return
			}
		}
		if bytes.HasPrefix(line, []byte("PROXY TCP4 127.0.0.1 127.0.0.1 ")) {
			over(cert, testserver.Greet("hi\n"))(c)
		}
	})
	p := probe.Probe{Proxy: 1, TLS: &tls.Config{RootCAs: ca.Pool()}}
	if r := p.Do(t.Context(), parse(t, server.Addr)); r.Status != probe.OK {
		t.Errorf("%s %v", r.Status, r.Err)
	}
}
