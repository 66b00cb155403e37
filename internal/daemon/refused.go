package daemon

import (
	"context"
	"fmt"
	"os"
	"strings"

	"greetd.example/internal/config"
	"greetd.example/internal/exit"
	"greetd.example/internal/logging"
	"greetd.example/internal/settings"
)

// refused returns err as an [exit.Error] with the code of a wrong configuration, after which systemd does not restart
// greetd. While a client waits at a socket unit, it first waits for a repair.
func (d *daemon) refused(ctx context.Context, err error, stderr *os.File) error {
	before := fingerprint(d.source)
	d.systemd.AwaitRepair(ctx, func() {
		reason := strings.ReplaceAll(err.Error(), "\n", "; ")
		_ = d.systemd.Notifier.Status("configuration refused, waiting for its change: " + reason)
		_ = logging.Fatal(stderr, "configuration refused, starting again when it has changed, or in 1m0s, for the clients that wait: "+reason)
	}, func() bool { return fingerprint(d.source) != before })
	return exit.Error{Code: exit.Config, Err: err}
}

// fingerprint returns a text that changes when a file of the configuration changes, or when its problems
// change, also those of certificates and other files that it names.
func fingerprint(source config.Source) string {
	loaded, _, err := settings.Load(source)
	var files strings.Builder
	for _, path := range loaded.Files() {
		if info, err := os.Stat(path); err == nil {
			fmt.Fprintln(&files, path, info.ModTime(), info.Size())
		}
	}
	return fmt.Sprint(files.String(), err)
}
