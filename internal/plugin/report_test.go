package plugin_test

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"greetd.example/internal/plugin"
)

func mustRange(t *testing.T, text string) plugin.Range {
	t.Helper()
	r, err := plugin.ParseRange(text)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestReport(t *testing.T) {
	r := plugin.Report{
		Service: "GREET",
		State:   plugin.Warning,
		Text:    "0.312 s to the greeting",
		Perf: []plugin.Metric{
			{Label: "time", Value: 0.3124567, Unit: "s", Warn: mustRange(t, "0.3"), Crit: mustRange(t, "@1:"), Max: 10},
			{Label: "mail:25 connect", Value: 0.0001, Unit: "s"},
			{Label: "certificate_days", Value: 12, Warn: mustRange(t, "30:")},
		},
		Long: []string{"resolve 0.1 ms", "connect 0.2 ms"},
	}
	want := "GREET WARNING - 0.312 s to the greeting" +
		"|time=0.312457s;0.3;@1:;0;10 'mail:25 connect'=0.000100s;;;0 certificate_days=12;30:;;0\n" +
		"resolve 0.1 ms\nconnect 0.2 ms\n"
	if got := r.String(); got != want {
		t.Errorf("report\n got %q\nwant %q", got, want)
	}
}

func TestWorst(t *testing.T) {
	for _, tt := range []struct {
		of   []plugin.State
		want plugin.State
	}{
		{[]plugin.State{plugin.OK, plugin.OK}, plugin.OK},
		{[]plugin.State{plugin.OK, plugin.Unknown}, plugin.Unknown},
		{[]plugin.State{plugin.Unknown, plugin.Warning, plugin.OK}, plugin.Warning},
		{[]plugin.State{plugin.Warning, plugin.Unknown, plugin.Critical}, plugin.Critical},
		{nil, plugin.Unknown},
	} {
		if got := plugin.Worst(tt.of...); got != tt.want {
			t.Errorf("worst of %v = %v, want %v", tt.of, got, tt.want)
		}
	}
}

func TestChoice(t *testing.T) {
	for word, want := range map[string]plugin.State{"ok": plugin.OK, "warn": plugin.Warning, "crit": plugin.Critical} {
		var c plugin.Choice
		if err := c.Set(word); err != nil || plugin.State(c) != want || c.String() != word {
			t.Errorf("%q: %v, %v", word, &c, err)
		}
	}
	var c plugin.Choice
	if err := c.Set("unknown"); err == nil || !strings.Contains(err.Error(), "ok, warn, crit") {
		t.Errorf("unknown: error = %v, want one with the choices", err)
	}
}

func TestCleanEscapesAndCuts(t *testing.T) {
	for text, want := range map[string]string{
		"220 ok":         "220 ok",
		"a|b=1;;":        `a\x7cb=1;;`,
		"a\nb\r\n":       `a\nb\r\n`,
		"\x1b[31mred":    `\x1b[31mred`,
		"a\x00b":         `a\x00b`,
		"\xff\xfe":       `\xff\xfe`,
		"gr\u00fc\u00df": "gr\u00fc\u00df",
		"a\u202eb\u2028": `a\u202eb\u2028`,
		"1234567890":     "1234567890",
		"12345678901234": "123456789012...",
		"12345678901||":  `12345678901...`,
	} {
		limit := 12
		if strings.Contains(want, `\`) {
			limit = 100
		}
		if got := plugin.Clean(text, limit); got != want {
			t.Errorf("Clean(%q) = %q, want %q", text, got, want)
		}
	}
}

// FuzzReport looks for a greeting, a host name or a longer text that breaks out
// of its place in the output.
func FuzzReport(f *testing.F) {
	f.Add("220 ok", "mail:25", "more")
	f.Add("a|b=1\nOK - all is well", "x'=|;y", "c|d=2\x1b[2J")
	f.Add(strings.Repeat("x|", 1000), "\u2028 '", "\u202e\xff")
	f.Fuzz(func(t *testing.T, text, label, long string) {
		r := plugin.Report{
			Service: "GREET", State: plugin.OK, Text: text,
			Perf: []plugin.Metric{{Label: label, Value: 1, Unit: "s"}},
			Long: []string{long},
		}
		out := r.String()
		if !utf8.ValidString(out) {
			t.Errorf("not UTF-8: %q", out)
		}
		lines := strings.Split(out, "\n")
		if len(lines) != 3 || lines[2] != "" {
			t.Fatalf("%d lines, want 2: %q", len(lines)-1, out)
		}
		for _, c := range lines[0] + lines[1] {
			if unicode.In(c, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) {
				t.Errorf("control character %q in %q", c, out)
			}
		}
		shown, perf, _ := strings.Cut(lines[0], "|")
		if strings.Contains(perf, "|") || strings.Contains(lines[1], "|") {
			t.Errorf("more than one pipe: %q", out)
		}
		if !strings.HasPrefix(shown, "GREET OK - ") || utf8.RuneCountInString(shown) > 420 {
			t.Errorf("status text: %q", shown)
		}
		if strings.Count(perf, "=") != 1 || !strings.HasSuffix(perf, "=1.000000s;;;0") {
			t.Errorf("performance data: %q", perf)
		}
	})
}
