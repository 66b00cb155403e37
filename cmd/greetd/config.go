//go:build linux

package main

import (
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"greetd.example/internal/config"
	"greetd.example/internal/exit"
)

func (p *program) configCommand() *cobra.Command {
	var here, schema bool
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Print the effective configuration, with the origin of each value",
		Long: `config prints the configuration that a daemon started now would use: file,
environment and defaults together, as YAML, with the origin of each value. As
root it prints that of the unit; with --here, that of the current user.`,
		Example: `  greetd config
  greetd config --here --config ./greetd.yaml
  greetd config --schema >greetd.schema.json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if schema {
				_, err := p.stdout.Write(config.JSONSchema())
				return failedToWrite(err)
			}
			e, err := p.examineAsMeant(cmd.Context(), here)
			if err != nil {
				return exit.Error{Code: exit.System, Err: err}
			}
			if len(e.Unusable) > 0 {
				return exit.Error{Code: exit.Config, Err: errors.New(strings.Join(e.Unusable, "\n"))}
			}
			var comments strings.Builder
			for _, warning := range e.Warnings {
				comments.WriteString("# warning: " + warning + "\n")
			}
			_, err = p.stdout.WriteString(comments.String() + e.YAML)
			return failedToWrite(err)
		},
	}
	addHereFlag(cmd, &here)
	cmd.Flags().BoolVar(&schema, "schema", false, "print the JSON Schema of the file instead, for editors")
	return cmd
}
