// Package usage is how both programs show their help: a line that says what the command
// is for, then examples, then the rest, in 80 columns.
package usage

import (
	"fmt"

	"github.com/spf13/cobra"
)

const template = `{{.Short}}
{{with .Example}}
{{.}}
{{end}}{{with .Long}}
{{.}}
{{end}}
Usage: {{.UseLine}}
{{if .HasAvailableSubCommands}}
Commands, each with --help:
{{- range .Commands}}{{if .IsAvailableCommand}}
  {{rpad .Name .NamePadding}} {{.Short}}
{{- end}}{{end}}
{{end}}{{with .LocalFlags.FlagUsagesWrapped 80}}
Flags:
{{.}}{{end}}{{with .InheritedFlags.FlagUsagesWrapped 80}}
Of every command:
{{.}}{{end}}`

// Set makes root and all its commands show their help like this. It also adds the
// commands that cobra itself adds later, completion and help, with examples: call it
// when all others are there.
func Set(root *cobra.Command) {
	root.SetHelpTemplate(template)
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	name := root.Name()
	for _, cmd := range root.Commands() {
		switch cmd.Name() {
		case "help":
			cmd.Short = "Print the help of a command"
			cmd.Long = ""
			cmd.Example = fmt.Sprintf("  %s help completion", name)
		case "completion":
			cmd.Short = "Print a script that lets a shell complete commands and flags"
			cmd.Long = ""
			cmd.Example = fmt.Sprintf("  source <(%s completion bash)", name)
			for _, shell := range cmd.Commands() {
				shell.DisableFlagsInUseLine = false
				shell.Short = fmt.Sprintf("Print a script that lets %s complete commands and flags", shell.Name())
				shell.Long = ""
				shell.Example = fmt.Sprintf(examples[shell.Name()], name)
			}
		}
	}
}

// examples are for this shell, and for all that start from now on.
var examples = map[string]string{
	"bash": `  source <(%[1]s completion bash)     with the package bash-completion
  %[1]s completion bash > /etc/bash_completion.d/%[1]s`,
	"zsh": `  source <(%[1]s completion zsh)      after: autoload -U compinit; compinit
  %[1]s completion zsh > "${fpath[1]}/_%[1]s"`,
	"fish": `  %[1]s completion fish | source
  %[1]s completion fish > ~/.config/fish/completions/%[1]s.fish`,
	"powershell": `  %[1]s completion powershell | Out-String | Invoke-Expression`,
}
