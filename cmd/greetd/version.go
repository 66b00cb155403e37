package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"greetd.example/internal/build"
)

func (p *program) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print version, commit and Go version",
		Example: `  greetd version`,
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			b := build.Read()
			commit := b.Commit
			if commit == "" {
				commit = "unknown"
			}
			_, err := fmt.Fprintf(p.stdout, "greetd %s (commit %s, %s)\n", b.Version, commit, b.GoVersion)
			return failedToWrite(err)
		},
	}
}
