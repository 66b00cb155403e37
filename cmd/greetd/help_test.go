package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// everyCommand calls look for each command of ours, the root first.
func everyCommand(look func(*cobra.Command)) {
	root := new(program).commands()
	look(root)
	for _, cmd := range root.Commands() {
		look(cmd)
	}
}

// TestHelp holds the help of every command against 80 columns, and wants an example.
func TestHelp(t *testing.T) {
	everyCommand(func(cmd *cobra.Command) {
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
		if cmd.Example == "" || !strings.Contains(text.String(), cmd.Example) {
			t.Errorf("%s --help shows no example", cmd.CommandPath())
		}
		if cmd.HasParent() && !strings.Contains(text.String(), "Of every command:") {
			t.Errorf("%s --help does not name the flags of every command", cmd.CommandPath())
		}
	})
}
