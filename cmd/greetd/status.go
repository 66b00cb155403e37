//go:build linux

package main

import (
	"context"

	"github.com/spf13/cobra"

	"greetd.example/internal/admin"
	"greetd.example/internal/exit"
)

func (p *program) statusCommand() *cobra.Command {
	var asJSON, check bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show listeners, connections, outcomes and the configuration",
		Long: `status shows what the running daemon is doing. Counts are since its start.

The headline is red if a listener greets nobody, loses a tenth of its clients or
cannot accept clients, or if its certificate has expired. It is amber if
something else needs attention, and green otherwise.`,
		Example: `  greetd status
  greetd status --json | jq .outcomes
  greetd status --check || echo trouble`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.ask(cmd.Context(), false, func(ctx context.Context, daemon *admin.Client) error {
				status, err := daemon.Status(ctx)
				if err != nil {
					return err
				}
				if err := p.print(status, asJSON); err != nil {
					return err
				}
				if check && status.Health.Color == admin.Red {
					return exit.Error{Code: exit.Failed}
				}
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, as GET /status does")
	cmd.Flags().BoolVar(&check, "check", false, "exit with 1 if the headline is red")
	return cmd
}
