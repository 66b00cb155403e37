//go:build linux

package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"greetd.example/internal/admin"
)

func (p *program) logLevelCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "log-level LEVEL",
		Short: "Change the level of the log until the next reload",
		Long: `log-level makes the running daemon log entries of LEVEL and above: error,
warning, info or debug.`,
		Example:   `  greetd log-level debug`,
		Args:      isLevel,
		ValidArgs: []string{"error", "warning", "info", "debug"},
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.ask(cmd.Context(), true, func(ctx context.Context, daemon *admin.Client) error {
				return daemon.SetLevel(ctx, args[0])
			})
		},
	}
}

// isLevel returns an error unless args is one level. It also accepts "warn", as the configuration does.
func isLevel(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("name one level: %s", strings.Join(cmd.ValidArgs, ", "))
	}
	if args[0] == "warn" || slices.Contains(cmd.ValidArgs, args[0]) {
		return nil
	}
	return fmt.Errorf("there is no level %q: the levels are %s", args[0], strings.Join(cmd.ValidArgs, ", "))
}
