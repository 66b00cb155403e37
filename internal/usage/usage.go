// Package usage formats the help of both programs, in 80 columns: a line with the purpose of the command, then examples,
// then the rest.
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

// An Output keeps the first error of its Writer, so that a program does not exit with success if its output could not be
// written.
type Output struct {
	io.Writer
	Err    error
	Failed func() // called when Err is set; may be nil
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

// Set makes root and all its commands show their help in this form. It also adds the commands completion and help of cobra,
// with examples. Call it when all other commands have been added.
func Set(root *cobra.Command) {
	root.SetHelpTemplate(helpTemplate)
	root.SuggestionsMinimumDistance = 2 // maximum number of different letters
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

// Suggestion returns a question with the commands of root that were probably meant by args; "" if there is none. It is for
// args that root could not execute.
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

// Plain changes the descriptions of all flags to one line of plain text, for the completion of a shell. A shell shows only
// the first line of a description, and does not know the quotes around the `NAME` of a value.
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

// examples are the examples for the command completion, by shell: one for the running shell, and one for later shells.
var examples = map[string]string{
	"bash": `  source <(%[1]s completion bash)     with the package bash-completion
  %[1]s completion bash >> ~/.bash_completion`,
	"zsh": `  source <(%[1]s completion zsh)      after: autoload -U compinit; compinit
  %[1]s completion zsh > "${fpath[1]}/_%[1]s"`,
	"fish": `  %[1]s completion fish | source
  %[1]s completion fish > ~/.config/fish/completions/%[1]s.fish`,
	"powershell": `  %[1]s completion powershell | Out-String | Invoke-Expression`,
}
