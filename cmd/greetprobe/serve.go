package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"net"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"greetd.example/internal/build"
	"greetd.example/internal/exporter"
	"greetd.example/internal/words"
	"greetd.example/pkg/systemd"
)

// exitConfig is EX_CONFIG of sysexits.h. The unit is not restarted after this exit code.
const exitConfig = 78

// defaultServeConfig is the configuration file that is read if none is given and this one exists.
const defaultServeConfig = "/etc/greetprobe/exporter.yaml"

type serveFlags struct {
	config        string
	chosen        bool // --config was given
	check         bool
	reload        bool
	listen        string
	webConfig     string
	maxProbes     int
	timeoutOffset time.Duration
}

func newServe(ctx context.Context, std streams) *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:   "serve [flags]",
		Short: "Probe targets for Prometheus, as blackbox_exporter does",
		Long: `Serve answers /probe?target=HOST:PORT&module=NAME with metrics; /metrics has
those of the exporter itself, and / is a page for people. The
modules in the configuration file say how to probe. SIGHUP reloads the file.`,
		Example: `  greetprobe serve
  curl 'localhost:9181/probe?target=mail.example:25'
  greetprobe serve --config.file modules.yaml --config.check
  greetprobe serve --web.listen-address :9181 --web.config.file web.yaml`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f.chosen = cmd.Flags().Changed("config.file")
			return f.run(ctx, cmd.Flags(), std)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.config, "config.file", defaultServeConfig, "`FILE` with the modules and the allowed targets")
	flags.BoolVar(&f.check, "config.check", false, "print what is wrong with both files, and exit")
	flags.BoolVar(&f.reload, "reload", false, "for ExecReload=: make the exporter reload, and wait")
	flags.StringVar(&f.listen, "web.listen-address", "127.0.0.1:9181", "serve HTTP on `ADDRESS`")
	flags.StringVar(&f.webConfig, "web.config.file", "", "TLS and passwords for HTTP, in `FILE`")
	flags.IntVar(&f.maxProbes, "max-probes", 100, "at most `N` probes at once; others get 503")
	flags.DurationVar(&f.timeoutOffset, "timeout-offset", 500*time.Millisecond, "end a probe this long before the timeout of the scrape")
	return cmd
}

// run serves until ctx is done, which SIGTERM does.
func (f *serveFlags) run(ctx context.Context, flags *pflag.FlagSet, std streams) error {
	var wrong flagErrors
	wrong.refuse(f.maxProbes < 1 || f.maxProbes > math.MaxInt32, "--max-probes %d: must be between 1 and %d", f.maxProbes, math.MaxInt32)
	wrong.refuse(f.timeoutOffset < 0, "--timeout-offset %s: can't be negative", f.timeoutOffset)
	if err := errors.Join(append(wrong, checkEmpty(flags))...); err != nil {
		return err
	}
	if f.reload {
		if err := systemd.RequestReload(ctx); err != nil {
			return std.fail(err, exitConfig)
		}
		return nil
	}
	if f.check {
		config, err := f.load()
		if err != nil {
			return std.fail(err, exitConfig)
		}
		std.say("configuration OK: %s", words.Count(len(config.Modules), "module"))
		return nil
	}
	err := f.serve(ctx, std)
	if _, said := errors.AsType[exitCode](err); err == nil || said {
		return err
	}
	return std.fail(err, exitLocal)
}

// load reads the configuration file and the web configuration file. The first one may be missing, unless --config was
// given.
func (f *serveFlags) load() (*exporter.Config, error) {
	config, err := readConfig(f.config)
	if errors.Is(err, fs.ErrNotExist) && !f.chosen {
		config, err = builtinConfig(), nil
	}
	return config, errors.Join(err, exporter.CheckWebConfig(f.webConfig))
}

func (f *serveFlags) serve(ctx context.Context, std streams) (err error) {
	svc, err := systemd.Start(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, svc.Close()) }()
	config, err := f.load()
	if err != nil {
		std.sayEach(err)
		f.awaitRepair(ctx, svc, std, err)
		return exitCode(exitConfig)
	}
	svc.Report = std.sayEach
	listeners, err := svc.ListenAll(systemd.ListenConfig{Name: "exporter", Address: f.listen})
	if err != nil {
		return fmt.Errorf("--web.listen-address: %w", err)
	}
	handler := exporter.New(exporter.Options{
		Version: build.Read().Version, MaxProbes: f.maxProbes, TimeoutOffset: f.timeoutOffset,
	}, config)
	svc.OnReload(func(context.Context) error {
		config, err := f.load()
		handler.Reloaded(config, err)
		if err == nil {
			std.say("configuration reloaded: %s", words.Count(len(config.Modules), "module"))
		}
		return err
	})
	if err := svc.AcceptReloads(); err != nil {
		return err
	}
	var open []net.Listener
	for _, ln := range listeners {
		open = append(open, ln)
		std.say("listening on %s (%s)", ln.Address(), ln.Origin())
	}
	return svc.Run(&exporter.Server{
		Handler: handler, WebConfigFile: f.webConfig,
		Log: slog.New(slog.NewTextHandler(std.err, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}, open...)
}

// awaitRepair waits until a start without the problem err is possible, if a client waits at a socket unit.
func (f *serveFlags) awaitRepair(ctx context.Context, svc *systemd.Service, std streams, err error) {
	svc.AwaitRepair(ctx, func() {
		_ = svc.Notifier.Status("configuration refused, waiting for its change: " + strings.ReplaceAll(err.Error(), "\n", "; "))
		std.say("starting again when the configuration has changed, or in 1m0s, for the clients that wait")
	}, func() bool {
		_, again := f.load()
		return again == nil || again.Error() != err.Error()
	})
}
