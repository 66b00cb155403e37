package probe_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"greetd.example/pkg/probe"
)

func TestEscape(t *testing.T) {
	for _, test := range []struct{ in, want string }{
		{"220 mail\tESMTP\n", "220 mail\tESMTP\n"},
		{"grüß dich \U0001f44b\n", "grüß dich \U0001f44b\n"},
		{"\r\n", "\\r\n"},
		{"\x1b[31m", `\x1b[31m`},
		{"\x00\x07\x7f", `\x00\x07\x7f`},
		{"\u0085\u009b", `\u0085\u009b`},
		{"\xff\xc3", `\xff\xc3`},
		{"\u202eevil\u2066\u200f\u061c", `\u202eevil\u2066\u200f\u061c`},
		{"\u2028\u2029", `\u2028\u2029`},
		{"a\u200bb\u200c\u200d\u2060\ufeff\u00ad\u00a0\u3000", `a\u200bb\u200c\u200d\u2060\ufeff\u00ad\u00a0\u3000`},
		{"\U000e0001\U000e0041\U000e007f", `\U000e0001\U000e0041\U000e007f`},
		{"\u115f\u3164\u034f\ufe0f\U000e0100\u2800\ue000", `\u115f\u3164\u034f\ufe0f\U000e0100\u2800\ue000`},
		{"a\\b", `a\b`},
		{"\ufffd", "\ufffd"},
	} {
		if got := probe.Escape([]byte(test.in)); got != test.want {
			t.Errorf("Escape(%q) = %q, want %q", test.in, got, test.want)
		}
	}
}

func FuzzEscape(f *testing.F) {
	for _, s := range []string{"", "220 hi\r\n", "\x1b]0;x\x07", "\xed\xa0\x80", "\u202e", "\u0600\u200b", "\xc2\x9b"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		out := probe.Escape(in)
		if !utf8.ValidString(out) {
			t.Errorf("Escape(%q) = %q is not UTF-8", in, out)
		}
		for _, r := range out {
			if r < ' ' && r != '\n' && r != '\t' || 0x7f <= r && r < 0xa0 || strings.ContainsRune("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069", r) {
				t.Errorf("Escape(%q) = %q holds %U", in, out, r)
			}
		}
		if probe.Escape([]byte(out)) != out {
			t.Errorf("Escape(%q) = %q is changed when escaped again", in, out)
		}
	})
}

func TestUnescape(t *testing.T) {
	for _, test := range []struct{ in, want string }{
		{"", ""},
		{`QUIT\r\n`, "QUIT\r\n"},
		{`\t\\\x00\xFf`, "\t\\\x00\xff"},
		{"plain \n text", "plain \n text"},
		{`\\n`, `\n`},
	} {
		if got, err := probe.Unescape(test.in); err != nil || got != test.want {
			t.Errorf("Unescape(%q) = %q, %v; want %q", test.in, got, err, test.want)
		}
	}
	for _, test := range []struct{ in, want string }{
		{`a\`, `a backslash at the end: write \\ for a backslash`},
		{`\q`, `\q is unknown: there are \r \n \t \\ \xHH`},
		{`\x`, `\x: write \x and two hexadecimal digits`},
		{`\x1`, `\x1: write \x and two hexadecimal digits`},
		{`\xzz`, `\xzz: write \x and two hexadecimal digits`},
		{`\x+1`, `\x+1: write \x and two hexadecimal digits`},
	} {
		if _, err := probe.Unescape(test.in); err == nil || err.Error() != test.want {
			t.Errorf("Unescape(%q): %v; want the error %s", test.in, err, test.want)
		}
	}
}

func FuzzUnescape(f *testing.F) {
	for _, s := range []string{`a\r\n`, `\x41`, `\`, `\é`, `\\\\`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		// What has been made harmless can be read again.
		harmless := strings.NewReplacer(`\`, `\\`, "\r", `\r`, "\n", `\n`, "\t", `\t`, "\x00", `\x00`).Replace(s)
		if got, err := probe.Unescape(harmless); err != nil || got != s {
			t.Errorf("Unescape(%q) = %q, %v; want %q", harmless, got, err, s)
		}
		if got, err := probe.Unescape(s); err == nil && len(got) > len(s) {
			t.Errorf("Unescape(%q) = %q is longer", s, got)
		}
	})
}
