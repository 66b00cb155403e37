// Package usage is how both programs show their help: a line that says what the command
// is for, then examples, then the rest, in 80 columns.
package usage

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const helpTemplate = `{{.Short}}
{{with .Example}}
{{.}}
{{end}}{{with .Long}}
{{.}}
{{end}}
Usage: {{.UseLine}}
{{if .HasAvailableSubCommands}}
Commands, each with --help:
{{range .Commands}}{{if .IsAvailableCommand}}  {{rpad .Name .NamePadding}} {{.Short}}
{{end}}{{end}}{{end}}{{if .HasAvailableLocalFlags}}
Flags:
{{.LocalFlags.FlagUsagesWrapped 80}}{{end}}{{if .HasAvailableInheritedFlags}}
Of every command:
{{.InheritedFlags.FlagUsagesWrapped 80}}{{end}}`

// An Output remembers why its Writer failed first: help that nobody could read is no
// success.
type Output struct {
	io.Writer
	Err    error
	Failed func() // called when Err is set; nil: nothing is
}

// Write implements [io.Writer].
func (o *Output) Write(b []byte) (int, error) {
	n, err := o.Writer.Write(b)
	if err != nil && o.Err == nil {
		o.Err = err
		if o.Failed != nil {
			o.Failed()
		}
	}
	return n, err
}

// Set makes root and all its commands show their help like this. It also adds the
// commands that cobra itself adds later, completion and help, with examples: call it
// when all others are there.
func Set(root *cobra.Command) {
	root.SetHelpTemplate(helpTemplate)
	root.SuggestionsMinimumDistance = 2 // letters that differ
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	name := root.Name()
	for _, cmd := range root.Commands() {
		switch cmd.Name() {
		case "help":
			cmd.Short, cmd.Long = "Print the help of a command", ""
			cmd.Example = fmt.Sprintf("  %s help completion", name)
			cmd.Run, cmd.RunE = nil, func(_ *cobra.Command, args []string) error {
				topic, rest, err := root.Find(args)
				if err != nil || len(rest) > 0 {
					return fmt.Errorf("there is no command %q", strings.Join(args, " "))
				}
				return topic.Help()
			}
		case "completion":
			cmd.Short, cmd.Long = "Print a script that lets a shell complete commands and flags", ""
			cmd.Example = fmt.Sprintf("  source <(%s completion bash)", name)
			cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
			for _, shell := range cmd.Commands() {
				shell.DisableFlagsInUseLine = false
				shell.Short, shell.Long = fmt.Sprintf("Print a script that lets %s complete commands and flags", shell.Name()), ""
				shell.Example = fmt.Sprintf(examples[shell.Name()], name)
			}
		}
	}
}

// Suggestion returns a question that names the commands of root which args may mean; ""
// if there is none. It is for args that root could not make sense of.
func Suggestion(root *cobra.Command, args []string) string {
	if len(args) > 1 && args[0] == "help" {
		args = args[1:]
	}
	if len(args) == 0 || strings.HasPrefix(args[0], "-") {
		return ""
	}
	cmd, rest, err := root.Find(args)
	if err == nil && cmd != root && (!cmd.HasSubCommands() || len(rest) == 0) {
		return ""
	}
	if err != nil {
		cmd, rest = root, args
	}
	cmd.SuggestionsMinimumDistance = root.SuggestionsMinimumDistance
	var names []string
	for _, name := range cmd.SuggestionsFor(rest[0]) {
		names = append(names, fmt.Sprintf("'%s %s'", cmd.CommandPath(), name))
	}
	if len(names) == 0 {
		return ""
	}
	return "did you mean " + strings.Join(names, " or ") + "?"
}

// Plain makes the explanations of all flags one line of plain text, as the completion
// of a shell shows them: it knows no `NAME` of a value, and cuts at the end of a line.
func Plain(cmd *cobra.Command) {
	for _, flags := range []*pflag.FlagSet{cmd.Flags(), cmd.PersistentFlags()} {
		flags.VisitAll(func(f *pflag.Flag) {
			_, text := pflag.UnquoteUsage(f)
			f.Usage = strings.Join(strings.Fields(text), " ")
		})
	}
	for _, below := range cmd.Commands() {
		Plain(below)
	}
}

// examples are for this shell, and for all that start from now on.
var examples = map[string]string{
	"bash": `  source <(%[1]s completion bash)     with the package bash-completion
  %[1]s completion bash >> ~/.bash_completion`,
	"zsh": `  source <(%[1]s completion zsh)      after: autoload -U compinit; compinit
  %[1]s completion zsh > "${fpath[1]}/_%[1]s"`,
	"fish": `  %[1]s completion fish | source
  %[1]s completion fish > ~/.config/fish/completions/%[1]s.fish`,
	"powershell": `  %[1]s completion powershell | Out-String | Invoke-Expression`,
}
