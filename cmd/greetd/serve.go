//go:build linux

package main

import (
	"github.com/spf13/cobra"

	"greetd.example/internal/daemon"
)

func (p *program) serveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Greet in the foreground (the default)",
		Long: `serve greets until it receives SIGTERM or SIGINT, and then for
timeouts.lameduck. After that it stops accepting clients, and waits for visits
in progress, for at most timeouts.drain. A second signal skips the rest of
timeouts.lameduck, or cuts the visits. SIGHUP reloads the configuration.`,
		Example: `  greetd serve --listen :2525 --listen unix:/tmp/greet.sock
  GREETD_LOG_LEVEL=debug greetd serve --config ./greetd.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p.source.Listen = cmd.Flags().Lookup("listen")
			return daemon.Run(cmd.Context(), p.source, p.stdout, p.stderr)
		},
	}
	cmd.Flags().StringArray("listen", nil,
		"greet on `ADDR` (host:port, [v6]:port or unix:/path)\ninstead of the configured listeners; repeatable")
	return cmd
}
