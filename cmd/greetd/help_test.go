package main

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// everyCommand calls look for each command, the root first.
func everyCommand(look func(*cobra.Command)) {
	var lookAt func(*cobra.Command)
	lookAt = func(cmd *cobra.Command) {
		look(cmd)
		for _, below := range cmd.Commands() {
			lookAt(below)
		}
	}
	lookAt(new(program).commands(io.Discard))
}

// TestHelp holds the help of every command against 80 columns, and wants a summary, and
// then examples.
func TestHelp(t *testing.T) {
	everyCommand(func(cmd *cobra.Command) {
		if cmd.Hidden {
			return
		}
		var text bytes.Buffer
		cmd.SetOut(&text)
		if err := cmd.Help(); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(text.String()) {
			if len(line) > 81 { // with its end
				t.Errorf("%s --help has a line of %d columns: %s", cmd.CommandPath(), len(line)-1, line)
			}
		}
		if begin := cmd.Short + "\n\n" + cmd.Example + "\n"; cmd.Example == "" || !strings.HasPrefix(text.String(), begin) {
			t.Errorf("%s --help does not begin with a summary and examples:\n%s", cmd.CommandPath(), text.String())
		}
		if cmd.HasParent() && !strings.Contains(text.String(), "Of every command:") {
			t.Errorf("%s --help does not name the flags of every command", cmd.CommandPath())
		}
	})
}
