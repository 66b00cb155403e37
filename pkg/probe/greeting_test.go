package probe_test

import (
	"bytes"
	"regexp"
	"testing"
	"testing/synctest"
	"time"

	"greetd.example/internal/test/testserver"
	"greetd.example/pkg/probe"
)

// ask probes in memory what a server with that behavior says, in fake time.
func ask(t *testing.T, p probe.Probe, behavior testserver.Behavior) (r probe.Result) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := &network{hosts: map[string]host{"192.0.2.9": {behavior: behavior}}}
		defer n.open.Wait()
		p.Dial = n.dial
		r = p.Do(t.Context(), parse(t, "192.0.2.9:25"))
	})
	return r
}

func TestCompletion(t *testing.T) {
	for _, test := range []struct{ name, said, want string }{
		{"one line", "hello\nmore", "hello\n"},
		{"CRLF", "hello\r\nmore", "hello\r\n"},
		{"empty line", "\nhello\n", "\n"},
		{"continued", "220-a\r\n220-b\r\n220 c\r\n250 d\r\n", "220-a\r\n220-b\r\n220 c\r\n"},
		{"continued by another line", "220-a\r\nfoo\r\n220 b\r\n", "220-a\r\nfoo\r\n"},
		{"another code", "220-a\r\n550 no\r\n", "220-a\r\n550 no\r\n"},
		{"a code alone", "220\r\nx\n", "220\r\n"},
		{"two digits", "22-a\r\nx\n", "22-a\r\n"},
		{"four digits", "2200-a\r\nx\n", "2200-a\r\n"},
		{"SSH", "SSH-2.0-OpenSSH_9.2p1\r\n\x00\x00\x04", "SSH-2.0-OpenSSH_9.2p1\r\n"},
		{"IMAP", "* OK [CAPABILITY IMAP4rev1] ready\r\n", "* OK [CAPABILITY IMAP4rev1] ready\r\n"},
		{"MySQL", "\x03\x00\x00\x00\x0aab" + "rest", "\x03\x00\x00\x00\x0aab"},
		{"MySQL error", "\x04\x00\x00\x00\xff\x69\x04H" + "rest", "\x04\x00\x00\x00\xff\x69\x04H"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := ask(t, probe.Probe{Protocol: probe.Plain}, testserver.Greet(test.said))
			if r.Status != probe.OK || r.Greeting.End != probe.EndLine || string(r.Greeting.Bytes) != test.want {
				t.Errorf("%s/%s %q, want ok/line %q", r.Status, r.Greeting.End, r.Greeting.Bytes, test.want)
			}
		})
	}
}

func TestPatterns(t *testing.T) {
	re := func(expr string) probe.Pattern {
		p, err := probe.Regexp(expr)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	texts := func(all ...string) (patterns []probe.Pattern) {
		for _, s := range all {
			patterns = append(patterns, probe.Text(s))
		}
		return patterns
	}
	const mail = "220 mail.example ESMTP\r\n"
	for _, test := range []struct {
		name     string
		probe    probe.Probe
		behavior testserver.Behavior
		status   probe.Status
		end      probe.End
		matched  bool
		pattern  string
		total    time.Duration
	}{
		{"any", probe.Probe{Expect: texts("no", "ESMTP")}, testserver.Greet(mail), "ok", "match", true, "ESMTP", 0},
		{"none", probe.Probe{Expect: texts("no", "non")}, testserver.GreetAndClose(mail), "mismatch", "eof", false, "no | non", 0},
		{"all", probe.Probe{Expect: texts("220", "ESMTP"), ExpectAll: true}, testserver.Greet(mail), "ok", "match", true, "220 | ESMTP", 0},
		{"not all", probe.Probe{Expect: texts("220", "ESMTP", "no"), ExpectAll: true}, testserver.GreetAndClose(mail), "mismatch", "eof", false, "no", 0},
		{"all, in pieces", probe.Probe{Expect: texts("220", "there"), ExpectAll: true}, testserver.GreetInPieces(time.Second, "22", "0 ", "there"), "ok", "match", true, "220 | there", 2 * time.Second},
		{"after a line", probe.Probe{Expect: texts("220 ")}, testserver.GreetInPieces(time.Second, "220-wait\r\n", "220 go\r\n"), "ok", "match", true, "220 ", time.Second},
		{"a promised line may be late", probe.Probe{Expect: texts("220 ")}, testserver.GreetInPieces(6*time.Second, "220-wait\r\n", "220 go\r\n"), "ok", "match", true, "220 ", 6 * time.Second},
		{"a line that was not promised may not", probe.Probe{Expect: texts("220 ")}, testserver.GreetInPieces(6*time.Second, "hello\r\n", "220 go\r\n"), "mismatch", "idle", false, "220 ", 2 * time.Second},
		{"behind a NUL", probe.Probe{Expect: texts("220")}, testserver.Greet("\x00220\n"), "ok", "match", true, "220", 0},
		{"regexp", probe.Probe{Expect: []probe.Pattern{re(`^220 \S+ ESMTP$`)}}, testserver.Greet(mail), "ok", "match", true, `^220 \S+ ESMTP$`, 0},
		{"regexp of the second line", probe.Probe{Expect: []probe.Pattern{re(`^two$`)}}, testserver.Greet("one\ntwo\n"), "ok", "match", true, "^two$", 0},
		{"regexp waits for the line", probe.Probe{Expect: []probe.Pattern{re(`^220 ok$`)}}, testserver.GreetInPieces(time.Second, "220 ok", "ay\n"), "mismatch", "idle", false, `^220 ok$`, 3 * time.Second},
		{"regexp without newline", probe.Probe{Expect: []probe.Pattern{re(`^login: $`)}}, testserver.Greet("login: "), "ok", "idle", true, `^login: $`, 2 * time.Second},
		{"rejected", probe.Probe{Reject: []probe.Pattern{re(`^4\d\d `)}}, testserver.Greet("421 busy\r\n"), "rejected", "match", false, `^4\d\d `, 0},
		{"rejected before expected", probe.Probe{Expect: texts("220"), Reject: texts("spam")}, testserver.Greet("220 spam\n"), "rejected", "match", false, "spam", 0},
		{"nothing to reject", probe.Probe{Reject: texts("421")}, testserver.Greet(mail), "ok", "idle", true, "", 2 * time.Second},
		{"nothing to reject in a line a second", probe.Probe{Reject: texts("421")}, testserver.Repeat("hi\n", time.Second), "ok", "timeout", true, "", 10 * time.Second},
		{"nothing said", probe.Probe{Expect: texts("220")}, testserver.Close, "closed", "eof", false, "", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := ask(t, test.probe, test.behavior)
			if r.Status != test.status || r.Greeting.End != test.end || r.Timing.Total != test.total {
				t.Errorf("%s/%s after %s (%v), want %s/%s after %s", r.Status, r.Greeting.End, r.Timing.Total, r.Err, test.status, test.end, test.total)
			}
			if test.status == probe.Closed {
				if r.Expect != nil {
					t.Errorf("expect = %+v, want none", r.Expect)
				}
				return
			}
			if r.Expect == nil || r.Expect.Matched != test.matched || r.Expect.Pattern != test.pattern {
				t.Errorf("expect = %+v, want %v %q", r.Expect, test.matched, test.pattern)
			}
		})
	}
}

func TestRegexpErrorQuotesWhatWasWritten(t *testing.T) {
	if _, err := probe.Regexp("a(b"); err == nil || err.Error() != `"a(b": missing closing )` {
		t.Errorf("error = %v", err)
	}
}

func TestTiming(t *testing.T) {
	r := ask(t, probe.Probe{}, testserver.GreetInPieces(time.Second, "220-", "a\r\n", "220 b\r\n"))
	if *r.Timing.FirstByte != 0 || *r.Timing.Greeting != 2*time.Second || r.Timing.Total != 2*time.Second {
		t.Errorf("first byte %s, greeting %s, total %s", *r.Timing.FirstByte, *r.Timing.Greeting, r.Timing.Total)
	}
	if *r.Timing.Resolve != 0 || r.Timing.Proxy != nil || r.Timing.TLS != nil {
		t.Errorf("%+v", r.Timing)
	}
	r = ask(t, probe.Probe{}, testserver.Repeat("x", time.Second))
	if r.Timing.FirstByte == nil || r.Timing.Greeting != nil {
		t.Errorf("a partial greeting has %+v", r.Timing)
	}
}

func TestNoIdleLimit(t *testing.T) {
	r := ask(t, probe.Probe{Idle: -1}, testserver.Greet("login: "))
	if r.Status != probe.Partial || r.Timing.Total != 10*time.Second {
		t.Errorf("%s after %s", r.Status, r.Timing.Total)
	}
}

func TestMaxBytes(t *testing.T) {
	for _, n := range []int{1, 2, 511, 512, 513, 2048, 2049, 100_000} {
		r := ask(t, probe.Probe{MaxBytes: n}, testserver.Big(200_000))
		if len(r.Greeting.Bytes) != n || r.Greeting.End != probe.EndMax || !r.Greeting.Truncated {
			t.Errorf("MaxBytes %d: %d bytes, end %s", n, len(r.Greeting.Bytes), r.Greeting.End)
		}
	}
	line := append(bytes.Repeat([]byte("x"), 99), '\n')
	if r := ask(t, probe.Probe{MaxBytes: 100}, testserver.Greet(string(line))); r.Greeting.End != probe.EndLine || r.Greeting.Truncated {
		t.Errorf("a line that just fits ends with %s", r.Greeting.End)
	}
}

// FuzzCompletion holds the end of a greeting against its definition, and against
// itself: it does not depend on the pieces in which it comes.
func FuzzCompletion(f *testing.F) {
	for _, s := range []string{"220 hi\r\n", "220-a\n220-b\n220 c\nd", "hi", "\n", "\x03\x00\x00\x00\x0aabc", "\x04\x00\x00\x00\xffabcd", "220-", "12", "\x03\x00\x00\x00\x0aa", "\n\x00\x00\x00\n"} {
		f.Add([]byte(s), uint8(3))
	}
	definition := regexp.MustCompile(`\A(?:[0-9]{3}-[^\n]*\n)*(?:[^\n]*\n)`)
	f.Fuzz(func(t *testing.T, said []byte, size uint8) {
		if len(said) == 0 || len(said) > 500 {
			return
		}
		whole := ask(t, probe.Probe{Protocol: probe.Plain}, testserver.GreetAndClose(string(said)))
		var pieces []string
		for rest := said; len(rest) > 0; {
			n := min(len(rest), 1+int(size%16))
			pieces, rest = append(pieces, string(rest[:n])), rest[n:]
		}
		inPieces := ask(t, probe.Probe{Protocol: probe.Plain}, func(c netConn) {
			for _, piece := range pieces {
				c.Write([]byte(piece))
				time.Sleep(time.Millisecond)
			}
		})
		if !bytes.Equal(whole.Greeting.Bytes, inPieces.Greeting.Bytes) || whole.Greeting.End != inPieces.Greeting.End {
			t.Fatalf("%q: %q/%s at once, %q/%s in pieces of %d", said, whole.Greeting.Bytes, whole.Greeting.End, inPieces.Greeting.Bytes, inPieces.Greeting.End, 1+size%16)
		}
		if len(said) > 4 && said[2] == 0 && said[3] == 0 && (said[4] == 10 || said[4] == 255) {
			return // MySQL
		}
		want, end := said, probe.EndEOF
		// The last line of a continued greeting is any that does not promise another.
		if line := definition.Find(said); line != nil && !promises(line) {
			want, end = line, probe.EndLine
		}
		if !bytes.Equal(whole.Greeting.Bytes, want) || whole.Greeting.End != end {
			t.Errorf("%q ends after %q/%s, want %q/%s", said, whole.Greeting.Bytes, whole.Greeting.End, want, end)
		}
	})
}

// promises reports whether the last line of text is NNN-.
func promises(text []byte) bool {
	lines := bytes.SplitAfter(bytes.TrimSuffix(text, []byte("\n")), []byte("\n"))
	return regexp.MustCompile(`\A[0-9]{3}-`).Match(lines[len(lines)-1])
}
