package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"greetd.example/internal/build"
)

// printVersion adds the flag -V to cmd, which prints its name and version.
func printVersion(cmd *cobra.Command, name string) {
	cmd.Flags().BoolP("version", "V", false, "print the version")
	cmd.Version = build.Read().Version
	cmd.SetVersionTemplate(name + " {{.Version}}\n")
}

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
