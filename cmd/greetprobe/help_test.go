package main

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"greetd.example/internal/usage"
)

// TestHelp holds the help of the program against a screen.
func TestHelp(t *testing.T) {
	lines := strings.Split(strings.TrimSuffix(help, "\n"), "\n")
	if len(lines) > 23 {
		t.Errorf("%d lines, and a screen has 24 with the prompt", len(lines))
	}
}

// TestHelpBeginsWithExamples holds the help of every command against 80 columns, and
// wants a summary, and then examples.
func TestHelpBeginsWithExamples(t *testing.T) {
	var out bytes.Buffer
	var lookAt func(*cobra.Command)
	lookAt = func(cmd *cobra.Command) {
		out.Reset()
		if err := cmd.Help(); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(out.String()) {
			if len(line) > 81 { // with its end
				t.Errorf("%s --help has a line of %d columns: %s", cmd.CommandPath(), len(line)-1, line)
			}
		}
		if !strings.HasPrefix(out.String(), cmd.Short+"\n\n  "+strings.Fields(cmd.Example + " greetprobe")[0]+" ") {
			t.Errorf("%s --help does not begin with a summary and examples:\n%s", cmd.CommandPath(), out.String())
		}
		for _, below := range cmd.Commands() {
			lookAt(below)
		}
	}
	root := newRoot(t.Context(), streams{in: strings.NewReader(""), out: &out, err: io.Discard})
	root.SetOut(&out)
	lookAt(root)
}

// TestCompletionsAreWhole: bash shows as much of an explanation as fits into 80 columns
// beside the longest flag, and cuts the rest.
func TestCompletionsAreWhole(t *testing.T) {
	root := newRoot(t.Context(), streams{in: strings.NewReader(""), out: io.Discard, err: io.Discard})
	usage.Plain(root)
	for _, cmd := range append(root.Commands(), root) {
		longest := 0
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) { longest = max(longest, len("--"+f.Name)) })
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if columns := longest + 4 + len(f.Usage); columns > 80 || strings.ContainsAny(f.Usage, "\n`") {
				t.Errorf("%s --%s: %d columns: %q", cmd.CommandPath(), f.Name, columns, f.Usage)
			}
		})
	}
}
