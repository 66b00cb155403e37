package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"greetd.example/internal/exit"
	"greetd.example/internal/settings"
)

func (p *program) checkCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Validate the configuration: every problem, a line each",
		Long: `check tells every problem of the configuration as FILE:LINE: key: reason, those
of certificates and of the greeting's template included, and exits with 78 if
there is one. It asks no daemon and opens no listener.`,
		Example: `  greetd check
  greetd check --config ./greetd.yaml`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			loaded, _, err := settings.Load(p.sourceOfUnit())
			if err != nil {
				return exit.Error{Code: exit.Config, Err: err}
			}
			file := loaded.Path
			if file == "" {
				file = "configuration without a file"
			}
			_, err = fmt.Fprintf(p.stdout, "%s: good\n", file)
			return failedToWrite(err)
		},
	}
}
