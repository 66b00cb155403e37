package main

import (
	"go/ast"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"greetd.example/internal/config"
	"greetd.example/internal/test/manpage"
)

func TestManualKnowsEachCommand(t *testing.T) {
	var commands []string
	everyCommand(func(cmd *cobra.Command) {
		if cmd.Hidden {
			return
		}
		if cmd.HasParent() && cmd.Parent().Name() != "completion" { // those are shells
			commands = append(commands, cmd.Name())
		}
	})
	var page []string
	for _, line := range manpage.Read(t, "greetd.8").Section(t, "COMMANDS") {
		if item, ok := strings.CutPrefix(line, ".It Cm "); ok {
			page = append(page, strings.Fields(item)[0])
		}
	}
	manpage.Same(t, "commands", page, commands)
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
	for _, word := range manpage.Read(t, "greetd.8").Section(t, "OPTIONS").Words("Fl") {
		page = append(page, "-"+word)
	}
	manpage.Same(t, "flags", page, flags)
}

// TestManualKnowsEachExitCode reads the constants of package exit.
func TestManualKnowsEachExitCode(t *testing.T) {
	var codes, page []string
	manpage.Inspect(t, "../../internal/exit", func(n ast.Node) {
		if c, ok := n.(*ast.ValueSpec); ok && len(c.Values) == 1 {
			codes = append(codes, c.Values[0].(*ast.BasicLit).Value)
		}
	})
	if len(codes) < 6 {
		t.Fatalf("only %d exit codes were found", len(codes))
	}
	for _, line := range manpage.Read(t, "greetd.8").Section(t, "EXIT STATUS") {
		if code, ok := strings.CutPrefix(line, ".It "); ok {
			page = append(page, code)
		}
	}
	manpage.Same(t, "exit codes", page, codes)
}

// TestManualKnowsEachVariable holds the page against what the daemon's packages ask the
// environment for.
func TestManualKnowsEachVariable(t *testing.T) {
	variables := []string{
		"GREETD_CONFIG", "GREETD_LISTEN", "GREETD_*", config.EnvBusName, // by internal/config
		"GOMAXPROCS",                      // by Go itself
		"WATCHDOG_USEC", "JOURNAL_STREAM", // by go-systemd
	}
	for _, directory := range []string{"../../internal/daemon", "../../internal/limits", "../../pkg/systemd", "../../internal/logging"} {
		manpage.Inspect(t, directory, func(n ast.Node) {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) != 1 {
				return
			}
			f, isMethod := call.Fun.(*ast.SelectorExpr)
			name, isLiteral := call.Args[0].(*ast.BasicLit)
			if isLiteral && name.Value == `"MAINPID"` { // by RequestReload, which greetd does not call
				return
			}
			if isMethod && isLiteral && (f.Sel.Name == "Getenv" || f.Sel.Name == "LookupEnv") {
				variables = append(variables, strings.Trim(name.Value, `"`))
			}
		})
	}
	manpage.Same(t, "variables", manpage.Read(t, "greetd.8").Section(t, "ENVIRONMENT").Words("Ev"), variables)
}

func TestManualKnowsEachSignal(t *testing.T) {
	signals := []string{"SIGABRT", "SIGINT"} // the runtime handles it; os.Interrupt
	for _, directory := range []string{"../../internal/daemon", "../../pkg/systemd"} {
		manpage.Inspect(t, directory, func(n ast.Node) {
			if s, ok := n.(*ast.SelectorExpr); ok && strings.HasPrefix(s.Sel.Name, "SIG") {
				signals = append(signals, s.Sel.Name)
			}
		})
	}
	manpage.Same(t, "signals", manpage.Read(t, "greetd.8").Section(t, "SIGNALS").Words("Dv"), signals)
}

// TestManualKnowsEachDropIn looks into the folder that the page names.
func TestManualKnowsEachDropIn(t *testing.T) {
	var files, page []string
	entries, err := os.ReadDir("../../deploy/systemd/examples")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		files = append(files, e.Name())
	}
	text := strings.Join(manpage.Read(t, "greetd.8").Section(t, "SYSTEMD"), " ")
	page = append(page, regexp.MustCompile(`[a-z-]+\.(?:conf|dbus)`).FindAllString(text, -1)...)
	manpage.Same(t, "drop-ins", page, files)
}
