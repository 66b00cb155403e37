package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"greetd.example/internal/config"
	"greetd.example/internal/mantest"
)

func TestManualKnowsEachCommand(t *testing.T) {
	var commands []string
	everyCommand(func(cmd *cobra.Command) {
		if cmd.HasParent() && cmd.Parent().Name() != "completion" { // those are shells
			commands = append(commands, cmd.Name())
		}
	})
	var page []string
	for _, line := range mantest.Read(t, "greetd.8").Section(t, "COMMANDS") {
		if item, ok := strings.CutPrefix(line, ".It Cm "); ok {
			page = append(page, strings.Fields(item)[0])
		}
	}
	mantest.Same(t, "commands", page, commands)
}

func TestManualKnowsEachFlag(t *testing.T) {
	flags := []string{"-h", "--help"}
	everyCommand(func(cmd *cobra.Command) {
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			flags = append(flags, "--"+f.Name)
			if f.Shorthand != "" {
				flags = append(flags, "-"+f.Shorthand)
			}
		})
	})
	var page []string
	for _, word := range mantest.Read(t, "greetd.8").Section(t, "OPTIONS").Words("Fl") {
		page = append(page, "-"+word)
	}
	mantest.Same(t, "flags", page, flags)
}

// TestManualKnowsEachExitCode reads the constants whose names begin with exit.
func TestManualKnowsEachExitCode(t *testing.T) {
	source, err := parser.ParseFile(token.NewFileSet(), "run.go", nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var codes, page []string
	ast.Inspect(source, func(n ast.Node) bool {
		if c, ok := n.(*ast.ValueSpec); ok && strings.HasPrefix(c.Names[0].Name, "exit") && len(c.Values) == 1 {
			codes = append(codes, c.Values[0].(*ast.BasicLit).Value)
		}
		return true
	})
	if len(codes) < 6 {
		t.Fatalf("only %d exit codes were found in run.go", len(codes))
	}
	for _, line := range mantest.Read(t, "greetd.8").Section(t, "EXIT STATUS") {
		if code, ok := strings.CutPrefix(line, ".It "); ok {
			page = append(page, code)
		}
	}
	mantest.Same(t, "exit codes", page, codes)
}

func TestManualKnowsEachVariable(t *testing.T) {
	var page []string
	for _, word := range mantest.Read(t, "greetd.8").Section(t, "ENVIRONMENT").Words("Ev") {
		if strings.HasPrefix(word, "GREETD_") && word != "GREETD_*" {
			page = append(page, word)
		}
	}
	mantest.Same(t, "variables", page, []string{"GREETD_CONFIG", "GREETD_LISTEN", config.EnvBusName})
}
