package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"greetd.example/internal/config"
	"greetd.example/internal/usage"
)

// The exit codes of every command (sysexits.h, where there is one).
const (
	exitOK       = 0
	exitFailed   = 1  // while running
	exitUsage    = 64 // EX_USAGE
	exitNoDaemon = 69 // EX_UNAVAILABLE
	exitSystem   = 71 // EX_OSERR: an address or a descriptor that the system does not give
	exitConfig   = 78 // EX_CONFIG
)

// coded is an error that ends the process with a code of its own.
type coded struct {
	code int
	err  error // nil: everything was said already
}

func (c coded) Error() string { return fmt.Sprint(c.err) }
func (c coded) Unwrap() error { return c.err }

// program is what the commands share.
type program struct {
	stdout *os.File
	stderr *os.File
	source config.Source
}

// run carries out one command line and returns its exit code.
func run(ctx context.Context, args []string, stdout, stderr *os.File) int {
	p := &program{stdout: stdout, stderr: stderr, source: config.Source{Environ: os.Environ()}}
	root, helped := p.commands()
	root.SetArgs(args)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		err = failedToWrite(helped())
	}
	if err == nil {
		return exitOK
	}
	var c coded
	if !errors.As(err, &c) {
		fmt.Fprintf(stderr, "greetd: %v\nTry 'greetd --help'.\n", err)
		return exitUsage // what cobra itself finds wrong
	}
	if c.err != nil {
		for line := range strings.SplitSeq(c.err.Error(), "\n") {
			fmt.Fprintf(stderr, "greetd: %s\n", line)
		}
	}
	return c.code
}

// commands returns the root of them, and what usage.Set returns.
func (p *program) commands() (root *cobra.Command, helped func() error) {
	root = p.serveCommand()
	root.Use = "greetd [COMMAND]"
	root.Short = "Greet whoever connects, as a service of systemd's"
	root.Long = `greetd tells each client that connects the address it was seen from, and lets it
hang up first. It takes its sockets from systemd or binds its own. The manual is
greetd(8); its configuration is explained in greetd.yaml(5).`
	root.Example = `  greetd                               greet on port 10000, in the foreground
  greetd --listen 127.0.0.1:2525       greet there instead
  greetd check --config ./greetd.yaml  is this file good?
  systemctl reload greetd              apply the changes in the configuration
  greetd status                        how is the daemon?
  greetd doctor                        what is wrong on this machine?`
	root.SilenceErrors = true
	root.SilenceUsage = true
	root.PersistentFlags().StringVar(&p.source.Path, "config", "",
		"read `FILE` (default $GREETD_CONFIG, else\n"+config.DefaultPath+" if it exists)")
	root.AddCommand(
		p.serveCommand(), p.checkCommand(), p.configCommand(), p.reloadCommand(),
		p.statusCommand(), p.logLevelCommand(), p.doctorCommand(), p.versionCommand(),
	)
	root.SetOut(p.stdout) // which cobra's completion wants to know now
	return root, usage.Set(root)
}

func (p *program) serveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Greet in the foreground (the default)",
		Long: `serve greets until it gets SIGTERM or SIGINT. Then it takes no new clients, and
gives those that are there timeouts.drain to end; a second signal cuts them.
SIGHUP makes it reload its configuration.`,
		Example: `  greetd serve --listen :2525 --listen unix:/tmp/greet.sock
  GREETD_LOG_LEVEL=debug greetd serve --config ./greetd.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return p.serve(cmd.Context()) },
	}
	cmd.Flags().StringArrayVar(&p.source.Listen, "listen", nil,
		"greet on `ADDR` (host:port, [v6]:port or unix:/path)\ninstead of the configured listeners; repeatable")
	return cmd
}

func (p *program) checkCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Validate the configuration: every problem, a line each",
		Long: `check tells every problem of the configuration as FILE:LINE: key: reason, those
of certificates and of the greeting's template included, and exits with 78 if
there is one. It asks no daemon and opens no listener.`,
		Example: `  greetd check
  greetd check --config ./greetd.yaml`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			loaded, _, err := load(p.source)
			if err != nil {
				return coded{exitConfig, err}
			}
			file := loaded.Path
			if file == "" {
				file = "configuration without a file"
			}
			_, err = fmt.Fprintf(p.stdout, "%s: good\n", file)
			return failedToWrite(err)
		},
	}
}

func (p *program) configCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "config",
		Short: "Print the effective configuration, and where each value came from",
		Long: `config prints what a daemon would follow that is started now, from here: file,
environment and defaults together, as YAML, and behind each value where it came
from.`,
		Example: `  greetd config
  greetd config --config ./greetd.yaml`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			loaded, err := config.Load(p.source)
			if err != nil {
				return coded{exitConfig, err}
			}
			_, err = p.stdout.Write(loaded.YAML())
			return failedToWrite(err)
		},
	}
}

func (p *program) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print version, commit and Go version",
		Example: `  greetd version`,
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			b := build()
			commit := b.commit
			if commit == "" {
				commit = "unknown"
			}
			_, err := fmt.Fprintf(p.stdout, "greetd %s (commit %s, %s)\n", b.version, commit, b.goVersion)
			return failedToWrite(err)
		},
	}
}

// failedToWrite is for what goes to stdout.
func failedToWrite(err error) error {
	if err == nil {
		return nil
	}
	return coded{exitFailed, err}
}
