package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"greetd.example/internal/admin"
	"greetd.example/internal/config"
	"greetd.example/pkg/systemd"
)

// The commands in this file talk to the daemon that runs.

// defaultRuntimeDirectory is RuntimeDirectory= of greetd.service, for those who call
// a command outside the unit.
const defaultRuntimeDirectory = "/run/greetd"

// patience bounds a conversation with the daemon. A reload may have to look up names.
const patience = 30 * time.Second

// controlAddress is where a daemon with this runtime directory can be steered.
func controlAddress(runtimeDirectory string) string {
	return "unix:" + runtimeDirectory + "/admin.sock"
}

// ask asks the daemon at each address where it may be, until one answers.
func (p *program) ask(ctx context.Context, question func(context.Context, *admin.Client) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	addresses, unread := p.adminAddresses()
	var err error
	for _, address := range addresses {
		if err = question(ctx, admin.Dial(address)); !errors.Is(err, admin.ErrNoDaemon) {
			break
		}
	}
	var c coded
	switch {
	case err == nil || errors.As(err, &c):
		return err
	case errors.Is(err, admin.ErrNoDaemon) && unread != nil:
		return coded{exitNoDaemon, errors.Join(err, errors.New("admin.address may tell another place, but can't be read"), unread)}
	case errors.Is(err, admin.ErrNoDaemon):
		return coded{exitNoDaemon, err}
	default:
		return coded{exitFailed, err}
	}
}

// adminAddresses begins with what can't have changed since the daemon started. In a unit
// with a runtime directory of its own, an instance for example, no other daemon will do.
// unread says why the configuration could not tell.
func (p *program) adminAddresses() (addresses []string, unread error) {
	directory := systemd.RuntimeDirectory()
	if directory != "" {
		addresses = append(addresses, controlAddress(directory))
	}
	loaded, unread := config.Load(p.source)
	if unread == nil && loaded.Admin.Address != "" {
		addresses = append(addresses, loaded.Admin.Address)
	}
	if directory == "" {
		addresses = append(addresses, controlAddress(defaultRuntimeDirectory))
	}
	return addresses, unread
}

func (p *program) reloadCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "reload",
		Short: "Make the daemon apply its configuration, and wait for the verdict",
		Long: `reload returns when the running daemon follows its configuration as it is now,
or has refused it: then it tells every problem, exits with 78, and the daemon
goes on with the old one. systemctl reload greetd calls this.`,
		Example: `  greetd reload
  systemctl reload greetd`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.ask(cmd.Context(), func(ctx context.Context, daemon *admin.Client) error {
				verdict, err := daemon.Reload(ctx)
				if err != nil {
					return err
				}
				return p.tell(verdict)
			})
		},
	}
}

// tell prints a verdict; a bad one is an error.
func (p *program) tell(v admin.Verdict) error {
	if v.OK {
		fmt.Fprintln(p.stdout, v.Message)
		for _, key := range v.NeedsRestart {
			fmt.Fprintf(p.stdout, "%s: applies after a restart\n", key)
		}
		return nil
	}
	problems := []error{errors.New(v.Message)}
	for _, problem := range v.Problems {
		problems = append(problems, errors.New(problem))
	}
	if v.Unavailable {
		return coded{exitFailed, errors.Join(problems...)}
	}
	return coded{exitConfig, errors.Join(problems...)}
}

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
			return p.ask(cmd.Context(), func(ctx context.Context, daemon *admin.Client) error {
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

func (p *program) logLevelCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "log-level LEVEL",
		Short: "Change the level of the log until the next reload",
		Long: `log-level makes the running daemon log what is at least as important as LEVEL:
error, warning, info or debug.`,
		Example:   `  greetd log-level debug`,
		Args:      isLevel,
		ValidArgs: []string{"error", "warning", "info", "debug"},
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.ask(cmd.Context(), func(ctx context.Context, daemon *admin.Client) error {
				return daemon.SetLevel(ctx, args[0])
			})
		},
	}
}

// isLevel also takes what the configuration takes besides.
func isLevel(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("name one level: %s", strings.Join(cmd.ValidArgs, ", "))
	}
	if args[0] == "warn" || slices.Contains(cmd.ValidArgs, args[0]) {
		return nil
	}
	return fmt.Errorf("there is no level %q: the levels are %s", args[0], strings.Join(cmd.ValidArgs, ", "))
}
