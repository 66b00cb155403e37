// Package usage is how both programs show their help: a line that says what the command
// is for, then examples, then the rest, in 80 columns.
package usage

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

// write writes the help of cmd. It is code rather than a template for cobra: text/template
// calls methods by their names, so the linker would have to keep all that there are.
func write(out io.Writer, cmd *cobra.Command) error {
	flags, inherited := cmd.LocalFlags(), cmd.InheritedFlags()
	text := cmd.Short + "\n"
	for _, paragraph := range []string{cmd.Example, cmd.Long} {
		if paragraph != "" {
			text += "\n" + paragraph + "\n"
		}
	}
	text += "\nUsage: " + cmd.UseLine() + "\n"
	if cmd.HasAvailableSubCommands() {
		text += "\nCommands, each with --help:\n"
		for _, sub := range cmd.Commands() {
			if sub.IsAvailableCommand() {
				text += fmt.Sprintf("  %-*s %s\n", sub.NamePadding(), sub.Name(), sub.Short)
			}
		}
	}
	for _, section := range []struct{ title, flags string }{
		{"Flags:", flags.FlagUsagesWrapped(columns)},
		{"Of every command:", inherited.FlagUsagesWrapped(columns)},
	} {
		if section.flags != "" {
			text += "\n" + section.title + "\n" + section.flags
		}
	}
	_, err := io.WriteString(out, text)
	return err
}

const columns = 80

// Set makes root and all its commands show their help like this. It also adds the
// commands that cobra itself adds later, completion and help, with examples: call it
// when all others are there.
func Set(root *cobra.Command) {
	root.SetHelpFunc(func(cmd *cobra.Command, _ []string) {
		if err := write(cmd.OutOrStdout(), cmd); err != nil {
			cmd.PrintErrln(err)
		}
	})
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
