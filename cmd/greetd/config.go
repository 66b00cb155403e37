package main

import (
	"github.com/spf13/cobra"

	"greetd.example/internal/config"
	"greetd.example/internal/exit"
)

func (p *program) configCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "config",
		Short: "Print the effective configuration, and where each value came from",
		Long: `config prints what a daemon would follow that is started now, from here: file,
environment and defaults together, as YAML, and behind each value where it came
from.`,
		Example: `  greetd config
  greetd config --config ./greetd.yaml`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			loaded, err := config.Load(p.sourceOfUnit())
			if err != nil {
				return exit.Error{Code: exit.Config, Err: err}
			}
			_, err = p.stdout.Write(loaded.YAML())
			return failedToWrite(err)
		},
	}
}
