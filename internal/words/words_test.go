package words

import (
	"strings"
	"testing"
	"time"
)

func TestCount(t *testing.T) {
	for want, got := range map[string]string{
		"1 byte":           Count(1, "byte"),
		"0 bytes":          Count(0, "byte"),
		"2 entries":        Count(uint64(2), "entry"),
		"1 entry":          Count(1, "entry"),
		"21 days":          Count(21, "day"),
		"2 failed replies": Count(2, "failed reply"),
		"n: 3 visits":      string(AppendCount([]byte("n: "), 3, "visit")),
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestQuoteIsShort(t *testing.T) {
	for s, want := range map[string]string{
		"":                            `""`,
		"a\n\x1b[2J":                  `"a\n\x1b[2J"`,
		strings.Repeat("a", 60):       `"` + strings.Repeat("a", 60) + `"`,
		strings.Repeat("a", 61):       `"` + strings.Repeat("a", 60) + `"...`,
		strings.Repeat("a", 59) + "é": `"` + strings.Repeat("a", 59) + `"...`,
	} {
		if got := Quote(s); got != want {
			t.Errorf("Quote(%q) = %s, want %s", s, got, want)
		}
	}
}

func TestPrintableIsOneSafeLine(t *testing.T) {
	for s, want := range map[string]string{
		"":                        "",
		`say "é" \n`:              `say "é" \n`,
		"two\nlines\t\x1b[2J\x9b": `two\nlines\t\x1b[2J\x9b`,
		"\u202eright\u2028":       `\u202eright\u2028`,
		"\ufffd":                  "\ufffd",
	} {
		if got := Printable(s); got != want {
			t.Errorf("Printable(%q) = %s, want %s", s, got, want)
		}
	}
}

func TestLeft(t *testing.T) {
	for d, want := range map[time.Duration]string{
		21*24*time.Hour + time.Hour: "21 days", 48 * time.Hour: "2 days", 48*time.Hour - 1: "47 hours",
		2 * time.Hour: "2 hours", 90 * time.Minute: "90 minutes", time.Minute: "1 minute", 0: "0 minutes",
	} {
		if got := Left(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
}
