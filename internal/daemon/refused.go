package daemon

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"greetd.example/internal/config"
	"greetd.example/internal/exit"
	"greetd.example/internal/logging"
	"greetd.example/internal/settings"
)

const (
	refusedTime     = time.Minute // longest time to watch a refused configuration while clients wait
	firstWatchPause = 250 * time.Millisecond
	lastWatchPause  = 5 * time.Second
)

// refused returns err as an [exit.Error] with the code of a wrong configuration. systemd does not
// restart greetd after this code.
//
// The sockets that greetd has bound itself are closed, so that no client waits at a port that is not
// served. A socket of a socket unit stays open, and systemd would start greetd again and again while a
// client waits there. If a client waits, refused therefore returns only after refusedTime, when the
// configuration has changed, or when greetd is stopped. Unless it is stopped, the socket unit then starts
// it again.
func (d *daemon) refused(ctx context.Context, err error, stderr *os.File) error {
	result := exit.Error{Code: exit.Config, Err: err}
	d.systemd.Abandon()
	if !d.systemd.ClientsWait() {
		return result
	}
	reason := strings.ReplaceAll(err.Error(), "\n", "; ")
	_ = d.systemd.Notifier.Status("configuration refused, waiting for its change: " + reason)
	_ = logging.Fatal(stderr, fmt.Sprintf("configuration refused, starting again when it has changed, or in %v, for the clients that wait: %s", refusedTime, reason))
	before := fingerprint(d.source)
	pause := firstWatchPause
	for end := time.Now().Add(refusedTime); time.Now().Before(end); pause = min(2*pause, lastWatchPause) {
		_ = d.systemd.Notifier.Extend(2 * lastWatchPause)
		if !d.systemd.Pause(ctx, pause) || fingerprint(d.source) != before {
			break
		}
	}
	return result
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
