package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"greetd.example/internal/build"
)

func newVersion(std streams) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version, as --version does",
		Example: "  greetprobe version",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			fmt.Fprintf(std.out, "greetprobe %s\n", build.Read().Version)
			return nil
		},
	}
}
