package plugin_test

import (
	"math"
	"strings"
	"testing"

	"greetd.example/internal/plugin"
)

// The table of the guidelines ("Threshold and Ranges"), and what it implies.
func TestRangeAlertsAsTheGuidelinesSay(t *testing.T) {
	inf := math.Inf(1)
	for _, tt := range []struct {
		text          string
		alerts, quiet []float64
	}{
		{"10", []float64{-1, -0.001, 10.001, inf}, []float64{0, 5, 10}},
		{"10:", []float64{-inf, 9.999}, []float64{10, 11, inf}},
		{"~:10", []float64{10.001, inf}, []float64{-inf, -5, 10}},
		{"10:20", []float64{9.999, 20.001}, []float64{10, 15, 20}},
		{"@10:20", []float64{10, 15, 20}, []float64{9.999, 20.001}},
		{":10", []float64{-1, 11}, []float64{0, 10}},
		{"@10", []float64{0, 10}, []float64{-1, 11}},
		{"@10:", []float64{10, inf}, []float64{9}},
		{"@~:0", []float64{-inf, -1, 0}, []float64{0.5}},
		{"~:", nil, []float64{-inf, 0, inf}},
		{"0.5", []float64{0.6}, []float64{0.5}},
		{".5:1e3", []float64{0.4, 1001}, []float64{0.5, 1000}},
		{"-20:-10", []float64{-21, -9, 0}, []float64{-15}},
		{"0", []float64{0.001}, []float64{0}},
		{"5:5", []float64{4, 6}, []float64{5}},
	} {
		r, err := plugin.ParseRange(tt.text)
		if err != nil {
			t.Errorf("%q: %v", tt.text, err)
			continue
		}
		for _, v := range tt.alerts {
			if !r.Alerts(v) {
				t.Errorf("%q: %v does not alert", tt.text, v)
			}
		}
		for _, v := range tt.quiet {
			if r.Alerts(v) {
				t.Errorf("%q: %v alerts", tt.text, v)
			}
		}
		if r.String() != tt.text {
			t.Errorf("%q prints as %q", tt.text, r.String())
		}
	}
}

func TestRangeRefusesInPlainWords(t *testing.T) {
	for text, want := range map[string]string{
		"":         "no number",
		"@":        "no number",
		":":        "no number",
		"20:10":    "start 20 is above its end 10",
		"-1":       "start 0 is above its end -1",
		"500ms":    `"500ms" is not a number`,
		"0,5":      `"0,5" is not a number`,
		"inf":      `"inf" is not a number`,
		"10:inf":   `"inf" is not a number`,
		"nan":      `"nan" is not a number`,
		"0x10":     `"0x10" is not a number`,
		"1_000":    `"1_000" is not a number`,
		"1e999":    `"1e999" is not a number`,
		"10:~":     "minus infinity",
		"~":        "minus infinity",
		"1:2:3":    `"2:3" is not a number`,
		"@@1":      `"@1" is not a number`,
		" 1":       `" 1" is not a number`,
		"1:2;3|x=": "is not a number",
	} {
		_, err := plugin.ParseRange(text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error = %v, want one with %q", text, err, want)
		}
	}
}

func TestNoThresholdNeverAlerts(t *testing.T) {
	var none plugin.Range
	if none.Alerts(math.Inf(1)) || none.Alerts(-1) {
		t.Error("the zero range alerts")
	}
	if none.String() != "" {
		t.Errorf("the zero range prints as %q", none.String())
	}
}

func TestBadRangeLeavesTheValueAlone(t *testing.T) {
	var r plugin.Range
	if err := r.Set("1:2"); err != nil {
		t.Fatal(err)
	}
	if err := r.Set("x"); err == nil {
		t.Fatal("x is taken for a range")
	}
	if r.String() != "1:2" {
		t.Errorf("after a bad Set the range is %q, want 1:2", r.String())
	}
}

func FuzzParseRange(f *testing.F) {
	for _, text := range []string{"10", "10:", "~:10", "10:20", "@10:20", "~:", "-1e-3:.5", "@~:0", "1:2:3", "1|2"} {
		f.Add(text, 15.0)
	}
	f.Fuzz(func(t *testing.T, text string, value float64) {
		r, err := plugin.ParseRange(text)
		if err != nil {
			return
		}
		if strings.Trim(r.String(), "0123456789.+-eE:~@") != "" {
			t.Errorf("%q is a range, but can't stand in performance data", text)
		}
		again, err := plugin.ParseRange(r.String())
		if err != nil || again != r {
			t.Errorf("%q read again: %v, %v", r.String(), again, err)
		}
		if math.IsNaN(value) {
			return
		}
		flipped, isInside := strings.CutPrefix(text, "@")
		if !isInside {
			flipped = "@" + text
		}
		opposite, err := plugin.ParseRange(flipped)
		if err != nil {
			t.Fatalf("%q is a range, but %q is not: %v", text, flipped, err)
		}
		if r.Alerts(value) == opposite.Alerts(value) {
			t.Errorf("%v: %q and %q agree", value, text, flipped)
		}
	})
}
