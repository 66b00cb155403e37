package main

import (
	"context"
	"encoding/json"

	"github.com/spf13/cobra"

	"greetd.example/internal/admin"
)

func (p *program) statusCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show listeners, connections, outcomes and the configuration",
		Long:  `status shows what the running daemon is doing. Counts are since its start.`,
		Example: `  greetd status
  greetd status --json | jq .outcomes`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.ask(cmd.Context(), false, func(ctx context.Context, daemon *admin.Client) error {
				status, err := daemon.Status(ctx)
				if err != nil {
					return err
				}
				if !asJSON {
					return failedToWrite(status.WriteText(p.stdout))
				}
				out := json.NewEncoder(p.stdout)
				out.SetIndent("", "  ")
				return failedToWrite(out.Encode(status))
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "for a program: JSON, as GET /status gives it")
	return cmd
}
