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
	refusedTime     = time.Minute // how long a refused configuration is watched, while clients wait
	firstWatchPause = 250 * time.Millisecond
	lastWatchPause  = 5 * time.Second
)

// refused returns err as one of the configuration, with which greetd is to exit: systemd
// does not restart it then.
//
// What it bound itself is closed: no client must wait at a port that nobody serves. A
// socket of a socket unit stays open, and systemd starts greetd again as long as a client
// waits there, over and over. So greetd stays for refusedTime then, unless the
// configuration changes: each change, and each of these times, is one more try.
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

// fingerprint changes with the configuration's files, and with what is wrong in all that it
// names.
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
