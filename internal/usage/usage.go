// Package usage is how both programs show their help: a line that says what the command
// is for, then examples, then the rest, in 80 columns.
package usage

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// write writes the help of cmd. It is code rather than a template for cobra: text/template
// calls methods by their names, so the linker would have to keep all that there are.
func write(out io.Writer, cmd *cobra.Command) error {
	flags, inherited := cmd.LocalFlags(), cmd.InheritedFlags()
	var text strings.Builder
	fmt.Fprintln(&text, cmd.Short)
	for _, paragraph := range []string{cmd.Example, cmd.Long} {
		if paragraph != "" {
			fmt.Fprintf(&text, "\n%s\n", paragraph)
		}
	}
	fmt.Fprintf(&text, "\nUsage: %s\n", cmd.UseLine())
	if cmd.HasAvailableSubCommands() {
		fmt.Fprint(&text, "\nCommands, each with --help:\n")
		for _, sub := range cmd.Commands() {
			if sub.IsAvailableCommand() {
				fmt.Fprintf(&text, "  %-*s %s\n", sub.NamePadding(), sub.Name(), sub.Short)
			}
		}
	}
	for _, section := range []struct{ title, flags string }{
		{"Flags:", flags.FlagUsagesWrapped(columns)},
		{"Of every command:", inherited.FlagUsagesWrapped(columns)},
	} {
		if section.flags != "" {
			fmt.Fprintf(&text, "\n%s\n%s", section.title, section.flags)
		}
	}
	_, err := io.WriteString(out, text.String())
	return err
}

const columns = 80

// Set makes root and all its commands show their help like this. It also adds the
// commands that cobra itself adds later, completion and help, with examples: call it
// when all others are there. Once root was executed, what Set returned tells why help or a
// script for completion could not be written, if it was asked for.
func Set(root *cobra.Command) (failed func() error) {
	var unwritten error
	root.SetHelpFunc(func(cmd *cobra.Command, _ []string) {
		unwritten = write(cmd.OutOrStdout(), cmd)
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
			cmd.Run, cmd.RunE = nil, func(_ *cobra.Command, args []string) error {
				topic, rest, err := root.Find(args)
				if err != nil || len(rest) > 0 {
					return fmt.Errorf("there is no command %q", strings.Join(args, " "))
				}
				return topic.Help()
			}
		case "completion":
			cmd.Short = "Print a script that lets a shell complete commands and flags"
			cmd.Long = ""
			cmd.Example = fmt.Sprintf("  source <(%s completion bash)", name)
			cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
			for _, shell := range cmd.Commands() {
				shell.DisableFlagsInUseLine = false
				shell.Short = fmt.Sprintf("Print a script that lets %s complete commands and flags", shell.Name())
				shell.Long = ""
				shell.Example = fmt.Sprintf(examples[shell.Name()], name)
				script := shell.RunE
				shell.RunE = func(cmd *cobra.Command, args []string) error {
					unwritten = script(cmd, args)
					return nil
				}
			}
		}
	}
	return func() error { return unwritten }
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
