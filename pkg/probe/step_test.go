package probe_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"greetd.example/internal/test/testserver"
	"greetd.example/pkg/probe"
)

// ExampleProbe_conversation greets a mail server, and asks inside TLS what it offers.
func ExampleProbe_conversation() {
	var p probe.Probe
	for _, line := range []string{
		`send EHLO client.example\r\n`,
		`expect ^250[ -]STARTTLS`,
		`expect ^250 `,
		`send STARTTLS\r\n`,
		`expect ^220 `,
		`starttls`,
		`send EHLO client.example\r\n`,
		`reject ^5`,
		`expect ^250[ -]AUTH`,
	} {
		step, err := probe.ParseStep(line)
		if err != nil {
			fmt.Println(err)
			return
		}
		p.Steps = append(p.Steps, step)
	}
	target, _ := probe.ParseTarget("mail.example:25")
	r := p.Do(context.Background(), target)
	for _, step := range r.Steps {
		fmt.Println(step.Step, step.OK, step.Time)
	}
}

func steps(tb testing.TB, lines ...string) (all []probe.Step) {
	tb.Helper()
	for _, line := range lines {
		step, err := probe.ParseStep(line)
		if err != nil {
			tb.Fatal(err)
		}
		if again, err := probe.ParseStep(step.String()); err != nil || again.String() != step.String() {
			tb.Errorf("%q reads again as %q, %v", step, again, err)
		}
		all = append(all, step)
	}
	return all
}

// echo greets, and says each line again; it says "bye" to "bye", and closes.
func echo(c net.Conn) {
	io.WriteString(c, "220 hi\r\n250 too early\r\n")
	lines := bufio.NewScanner(c)
	for lines.Scan() {
		fmt.Fprintf(c, "250-first\r\n250 %s\r\n", lines.Text())
		if lines.Text() == "bye" {
			return
		}
	}
}

func TestSteps(t *testing.T) {
	for _, test := range []struct {
		name   string
		server testserver.Behavior
		steps  []string
		status probe.Status
		err    string
		ok     int    // steps
		last   string // received
	}{
		{"in order", echo, []string{"expect early", "send one\\r\\n", "expect ^250 one$", "send two\\r\\n", "expect two"}, probe.OK, "", 5, "250-first\r\n250 two\r\n"},
		{"several lines", echo, []string{"send one\\r\\n", `expect (?s)early.*first.*one`}, probe.OK, "", 2, "250 too early\r\n250-first\r\n250 one\r\n"},
		{"what was found is consumed", echo, []string{"expect early", "expect early"}, probe.Mismatch, "step 2, expect early: it did not come within 300ms", 1, ""},
		{"a step fails", echo, []string{"expect early", "send one\\r\\n", "expect ^5", "send never\\r\\n"}, probe.Mismatch, `step 3, expect ^5: it did not come within 300ms; it said "250-first\r\n250 one"`, 2, "250-first\r\n250 one\r\n"},
		{"reject before", echo, []string{"send one\\r\\n", "reject ^250-", "expect never"}, probe.Rejected, `step 3, expect never: the server said "^250-"`, 2, ""},
		{"reject after", echo, []string{"send one\\r\\n", "expect one", "reject first"}, probe.Rejected, `step 3, reject first: the server said "first"`, 2, ""},
		{"reject and expect in the same text", echo, []string{"send one\\r\\n", "reject first", "expect ^250 one"}, probe.Rejected, `step 3, expect ^250 one: the server said "first"`, 2, ""},
		{"reject alone waits for the answer", echo, []string{"expect early", "send one\\r\\n", "reject ^250 one"}, probe.Rejected, `step 3, reject ^250 one: the server said "^250 one"`, 2, ""},
		{"reject before another send", echo, []string{"expect early", "send one\\r\\n", "reject ^250 one", "send two\\r\\n", "expect two"}, probe.Rejected, "step 3, reject", 2, ""},
		{"nothing to reject", echo, []string{"expect early", "send one\\r\\n", "reject ^5"}, probe.OK, "", 3, "250-first\r\n250 one\r\n"},
		{"no answer to reject", testserver.Greet("220 hi\r\n"), []string{"send one\\r\\n", "reject ^5"}, probe.OK, "", 2, ""},
		{"expect of the greeting", testserver.Greet("220 hi\r\n"), []string{"expect ^220"}, probe.Mismatch, "step 1, expect ^220: it did not come within 300ms: only the greeting has it", 0, ""},
		{"reject ends with the next send", echo, []string{"reject first", "send one\\r\\n", "expect one"}, probe.OK, "", 3, ""},
		{"hangs up", echo, []string{"send bye\\r\\n", "expect bye", "expect more"}, probe.Mismatch, "step 3, expect more: the server closed the connection", 2, ""},
		{"last words after a refusal", testserver.GreetAndClose("220 hi\r\n554 go away\r\n"), []string{"send one\\r\\n", "expect 250"}, probe.RefusedByServer, `expect 250: refused by the server: "554 go away"`, 1, ""},
		{"the server ends the session", testserver.GreetAndClose("220 hi\r\n250 one\r\n421-4.4.2 x\r\n421 4.4.2 timeout\r\n"), []string{"expect one", "expect two"}, probe.RefusedByServer, `step 2, expect two: refused by the server for now: "421 4.4.2 timeout"`, 1, ""},
		{"the server only hangs up", testserver.GreetAndClose("220 hi\r\n250 one\r\n"), []string{"expect two"}, probe.Mismatch, `it said "250 one"`, 0, ""},
		{"a prompt", testserver.GreetInPieces(30*time.Millisecond, "hello\n", "login: "), []string{"expect login: $"}, probe.OK, "", 1, "login: "},
		{"endless", testserver.Repeat(strings.Repeat("x", 9999)+"\n", 0), []string{"expect never"}, probe.Mismatch, "step 1, expect never: it is not in the first 65536 bytes", 0, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := testserver.Listen(t, test.server)
			p := probe.Probe{Steps: steps(t, test.steps...), Read: 300 * time.Millisecond, Idle: 100 * time.Millisecond}
			r := p.Do(t.Context(), parse(t, server.Addr))
			got := ""
			if r.Err != nil {
				got = r.Err.Error()
			}
			if test.status != "" && r.Status != test.status || !strings.Contains(got, test.err) || test.err == "" && got != "" {
				t.Errorf("%s %q, want %s %q", r.Status, got, test.status, test.err)
			}
			if string(r.Greeting.Bytes) == "" {
				t.Error("no greeting")
			}
			n := 0
			for _, step := range r.Steps {
				if step.OK {
					n++
				}
			}
			if n < test.ok || len(r.Steps) > n+1 {
				t.Errorf("%d steps ok of %d, want %d: %+v", n, len(r.Steps), test.ok, r.Steps)
			}
			if last := r.Steps[len(r.Steps)-1]; test.last != "" && string(last.Received) != test.last {
				t.Errorf("received %q, want %q", last.Received, test.last)
			}
			text, err := json.Marshal(r)
			if err != nil || !bytes.Contains(text, []byte(`"steps":[{"step":"`)) {
				t.Errorf("%s, %v", text, err)
			}
		})
	}
}

// The handshake can be a step, in the words of a protocol or after one's own.
func TestStepsGoOnInsideTLS(t *testing.T) {
	ca := testserver.NewAuthority(t)
	cert := ca.Sign(t, named("x"))
	server := testserver.Listen(t, func(c net.Conn) {
		io.WriteString(c, "220 mail\r\n")
		lines := bufio.NewScanner(c)
		for lines.Scan() {
			switch word, _, _ := strings.Cut(lines.Text(), " "); word {
			case "EHLO":
				io.WriteString(c, "250-mail\r\n250 STARTTLS\r\n")
			case "STARTTLS":
				io.WriteString(c, "220 go\r\n")
				c = tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}})
				lines = bufio.NewScanner(c)
			case "WHO":
				io.WriteString(c, "250 inside "+lines.Text()+"\r\n")
			}
		}
	})
	for _, test := range [][]string{
		{`send EHLO x\r\n`, `expect ^250 `, `send STARTTLS\r\n`, `expect ^220 go`, `starttls`, `send WHO\r\n`, `expect inside`},
		{`starttls smtp`, `send WHO\r\n`, `expect inside`},
	} {
		p := probe.Probe{TLS: &tls.Config{RootCAs: ca.Pool()}, Steps: steps(t, test...), Read: 5 * time.Second}
		r := p.Do(t.Context(), parse(t, server.Addr))
		if r.Status != probe.OK || r.TLS == nil || !r.TLS.Verified || len(r.Steps) != len(test) {
			t.Errorf("%s %v %+v %+v", r.Status, r.Err, r.TLS, r.Steps)
		}
		p.TLS = nil
		if r = p.Do(t.Context(), parse(t, server.Addr)); r.Status != probe.TLSFailed || r.TLS == nil || r.TLS.Verified {
			t.Errorf("without trust: %s %v", r.Status, r.Err)
		}
	}
}

func TestParseStepRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":              "there are expect RE",
		"listen 250":    "there are expect RE",
		"expect":        "write expect RE",
		"expect (":      "missing closing )",
		"reject":        "write reject RE",
		"send":          "write send TEXT",
		`send \q`:       `\q is unknown`,
		"starttls smpt": "the protocols are ftp, imap, ",
	} {
		if _, err := probe.ParseStep(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

// Send comes after the greeting, and what answers it belongs to it; a server that minds
// is not disturbed.
func TestSendComesAfterTheGreeting(t *testing.T) {
	strict := func(c net.Conn) {
		_ = c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		if n, _ := c.Read(make([]byte, 1)); n > 0 {
			io.WriteString(c, "554 before your turn\r\n")
			return
		}
		_ = c.SetReadDeadline(time.Time{})
		io.WriteString(c, "220 hi\r\n")
		if line, err := bufio.NewReader(c).ReadString('\n'); err == nil {
			io.WriteString(c, "250-answers\r\n250 "+line)
			testserver.Silent(c)
		}
	}
	server := testserver.Listen(t, strict)
	p := probe.Probe{Send: "NOOP\r\n"}
	r := p.Do(t.Context(), parse(t, server.Addr))
	if want := "220 hi\r\n250-answers\r\n250 NOOP\r\n"; r.Status != probe.OK || string(r.Greeting.Bytes) != want {
		t.Errorf("%s %v %q, want %q", r.Status, r.Err, r.Greeting.Bytes, want)
	}
	p.Expect = []probe.Pattern{probe.Text("NOOP")}
	if r = p.Do(t.Context(), parse(t, server.Addr)); r.Status != probe.OK || !r.Expect.Matched {
		t.Errorf("%s %v %q", r.Status, r.Err, r.Greeting.Bytes)
	}
	p = probe.Probe{Send: "NOOP\r\n", SendFirst: true}
	if r = p.Do(t.Context(), parse(t, server.Addr)); !strings.HasPrefix(string(r.Greeting.Bytes), "554 ") {
		t.Errorf("%s %v %q", r.Status, r.Err, r.Greeting.Bytes)
	}
	// A server that hangs up, and one that has nothing to say to it.
	for _, server := range []testserver.Behavior{testserver.GreetAndClose("220 hi\r\n"), testserver.Greet("220 hi\r\n")} {
		p := probe.Probe{Send: "NOOP\r\n", Idle: 50 * time.Millisecond}
		if r := p.Do(t.Context(), parse(t, testserver.Listen(t, server).Addr)); r.Status != probe.OK && r.Status != probe.Reset || string(r.Greeting.Bytes) != "220 hi\r\n" {
			t.Errorf("%s %v %q", r.Status, r.Err, r.Greeting.Bytes)
		}
	}
}
