//go:build linux

package main

import (
	"cmp"
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
			_, err := fmt.Fprintf(p.stdout, "greetd %s\n", version())
			return failedToWrite(err)
		},
	}
}

// version returns the version with commit and Go version, as the command version and --version print it.
func version() string {
	b := build.Read()
	return fmt.Sprintf("%s (commit %s, %s)", b.Version, cmp.Or(b.Commit, "unknown"), b.GoVersion)
}
