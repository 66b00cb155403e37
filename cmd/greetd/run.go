package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"greetd.example/internal/config"
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
	stdout io.Writer
	stderr *os.File
	source config.Source
}

// run carries out one command line and returns its exit code.
func run(ctx context.Context, args []string, stdout io.Writer, stderr *os.File) int {
	p := &program{stdout: stdout, stderr: stderr, source: config.Source{Environ: os.Environ()}}
	root := p.commands()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
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

func (p *program) commands() *cobra.Command {
	root := p.serveCommand()
	root.Use = "greetd"
	root.Short = "Greet whoever connects, as a service of systemd's"
	root.Long = `greetd tells each client that connects the address it was seen from, and lets it
hang up first. It takes its sockets from systemd or binds its own.`
	root.Example = `  greetd                                 greet on port 10000, in the foreground
  greetd --listen 127.0.0.1:2525         greet there instead
  greetd check --config ./greetd.yaml    is this file good?
  systemctl reload greetd                apply the changes in /etc/greetd/greetd.yaml
  greetd status                          how is the daemon?`
	root.SilenceErrors = true
	root.SilenceUsage = true
	root.PersistentFlags().StringVar(&p.source.Path, "config", "",
		"configuration `FILE` (default $GREETD_CONFIG, else "+config.DefaultPath+" if it exists)")
	root.AddCommand(
		p.serveCommand(), p.checkCommand(), p.configCommand(), p.reloadCommand(),
		p.statusCommand(), p.logLevelCommand(), p.doctorCommand(), p.versionCommand(),
	)
	return root
}

func (p *program) serveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Greet in the foreground (the default)",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return p.serve(cmd.Context()) },
	}
	cmd.Flags().StringArrayVar(&p.source.Listen, "listen", nil,
		"greet on `ADDR` (host:port, [v6]:port, unix:/path) instead of the configured listeners; may be repeated")
	return cmd
}

func (p *program) checkCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Validate the configuration: every problem, a line each",
		Args:  cobra.NoArgs,
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
		Args:  cobra.NoArgs,
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
		Use:   "version",
		Short: "Print version, commit and Go version",
		Args:  cobra.NoArgs,
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
