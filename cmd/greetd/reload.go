//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"greetd.example/internal/admin"
	"greetd.example/internal/doctor"
	"greetd.example/internal/exit"
)

// credentialsTimeout is the maximum time to ask the daemon and systemd about credentials.
const credentialsTimeout = 2 * time.Second

func (p *program) reloadCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "reload",
		Short: "Make the daemon apply its configuration, and wait for the result",
		Long: `reload makes the running daemon read its configuration again, and waits for the
result. If the configuration is invalid, reload prints every problem and exits
with 78, and the daemon keeps the previous configuration. This is what
systemctl reload greetd calls.`,
		Example: `  greetd reload
  systemctl reload greetd`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.ask(cmd.Context(), true, func(ctx context.Context, client *admin.Client) error {
				result, err := client.Reload(ctx)
				if err != nil {
					return err
				}
				if result.OK {
					p.warnOfStaleCredentials(ctx, client)
				}
				return p.printResult(result)
			})
		},
	}
}

// warnOfStaleCredentials prints a warning for each credential whose file has changed, but that this reload
// could not renew.
func (p *program) warnOfStaleCredentials(ctx context.Context, client *admin.Client) {
	ctx, cancel := context.WithTimeout(ctx, credentialsTimeout)
	defer cancel()
	status, err := client.Status(ctx)
	if err != nil {
		return
	}
	for _, f := range doctor.StaleCredentials(ctx, status.PID, status.Started) {
		fmt.Fprintf(p.stderr, "greetd: %s; to renew it: %s\n", f.Found, f.Remedy)
	}
}

// printResult prints the result of a successful reload. For a failed reload it returns an error.
func (p *program) printResult(v admin.ReloadResult) error {
	if v.OK {
		fmt.Fprintln(p.stdout, v.Message)
		p.warn(v.Warnings)
		return nil
	}
	code := exit.Config
	if v.Unavailable {
		code = exit.Failed
	}
	return exit.Error{Code: code, Err: errors.New(strings.Join(append([]string{v.Message}, v.Problems...), "\n"))}
}
