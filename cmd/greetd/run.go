//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"greetd.example/internal/config"
	"greetd.example/internal/exit"
	"greetd.example/internal/usage"
)

// run carries out one command line and returns its exit code.
func run(ctx context.Context, args []string, stdout, stderr *os.File) int {
	signal.Ignore(syscall.SIGHUP) // a reload before the first load has nothing to do, and must not end the process
	p := &program{stdout: stdout, stderr: stderr}
	out := &usage.Output{Writer: stdout}
	root := p.commands(out)
	if len(args) > 0 && strings.HasPrefix(args[0], "__complete") {
		usage.Plain(root)
	}
	root.SetArgs(args)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if out.Err != nil {
		err = failedToWrite(out.Err)
	}
	if err == nil {
		return exit.OK
	}
	var c exit.Error
	if !errors.As(err, &c) {
		fmt.Fprintf(stderr, "greetd: %v\n", err)
		if suggestion := usage.Suggestion(root, args); suggestion != "" {
			fmt.Fprintf(stderr, "greetd: %s\n", suggestion)
		}
		fmt.Fprintln(stderr, "Try 'greetd --help'.")
		return exit.Usage // an error of cobra, about flags or arguments
	}
	if c.Err != nil {
		for line := range strings.SplitSeq(c.Err.Error(), "\n") {
			fmt.Fprintf(stderr, "greetd: %s\n", line)
		}
	}
	return c.Code
}

// commands returns the root command with all sub-commands. Help and completion are written to out.
func (p *program) commands(out io.Writer) *cobra.Command {
	root := p.serveCommand()
	root.Use = "greetd [COMMAND]"
	root.Short = "TCP greeting daemon for systemd"
	root.Long = `greetd greets each client with the address that the server sees, and waits for
the client to hang up. It gets its sockets from systemd or binds its own. See
greetd(8), and greetd.yaml(5) for the configuration.`
	root.Example = `  greetd                               greet on port 10000, in the foreground
  greetd --listen 127.0.0.1:2525       greet there instead
  greetd check --here --config a.yaml  validate a file
  systemctl reload greetd              apply the changes in the configuration
  greetd status                        listeners, counts, problems
  greetd doctor                        why it does not start or work`
	root.SilenceErrors = true
	root.SilenceUsage = true
	root.PersistentFlags().StringVar(&p.source.Path, "config", "",
		"read `FILE` (default $GREETD_CONFIG, else\n"+config.DefaultPath+" if it exists)")
	root.Flags().BoolP("version", "V", false, "print version, commit and Go version")
	root.Version = version()
	root.SetVersionTemplate("greetd {{.Version}}\n")
	root.AddCommand(
		p.serveCommand(), p.addInstanceFlag(p.checkCommand()), p.addInstanceFlag(p.configCommand()),
		p.addInstanceFlag(p.reloadCommand()), p.addInstanceFlag(p.statusCommand()),
		p.addInstanceFlag(p.logLevelCommand()), p.addInstanceFlag(p.doctorCommand()), p.versionCommand(), p.examineCommand(),
	)
	root.SetOut(out) // must be set now, for the completion of cobra
	usage.Set(root)
	return root
}
