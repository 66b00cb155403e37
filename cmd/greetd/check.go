//go:build linux

package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"greetd.example/internal/exit"
)

func (p *program) checkCommand() *cobra.Command {
	var here bool
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Validate the configuration, and print every problem with its line",
		Long: `check reports every problem of the configuration as FILE:LINE: key: reason,
including those of certificates and of the greeting's template. It then exits
with 78. It opens no listener. As root it sees what the unit sees: its
user, environment, credentials and sandbox. --here checks as this user instead.`,
		Example: `  greetd check
  greetd check --instance lobby
  greetd check --here --config ./greetd.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			e, err := p.examineAsMeant(cmd.Context(), here)
			if err != nil {
				return exit.Error{Code: exit.System, Err: err}
			}
			p.warn(e.Warnings)
			if len(e.Problems) > 0 {
				return exit.Error{Code: exit.Config, Err: errors.New(strings.Join(e.Problems, "\n"))}
			}
			_, err = fmt.Fprintf(p.stdout, "%s: configuration OK\n", e.Name)
			return failedToWrite(err)
		},
	}
	addHereFlag(cmd, &here)
	return cmd
}

// warn prints warnings about values that are valid, but probably not intended.
func (p *program) warn(warnings []string) {
	for _, warning := range warnings {
		fmt.Fprintf(p.stderr, "greetd: warning: %s\n", warning)
	}
}

func addHereFlag(cmd *cobra.Command, here *bool) {
	cmd.Flags().BoolVar(here, "here", false, "run as the current user, without the environment,\ncredentials and sandbox of the unit")
}
