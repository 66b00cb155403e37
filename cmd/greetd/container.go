//go:build container

// Greetd greets whoever connects: see greetd(8). Called as greetprobe it is that, see
// greetprobe(1): two programs in one file, for an image of little more than half the size.
package main

import (
	"context"
	"os"
	"path/filepath"

	"greetd.example/cmd/internal/greetprobe"
	"greetd.example/internal/config"
	"greetd.example/internal/logging"
)

func main() {
	ctx := context.Background()
	if filepath.Base(os.Args[0]) == "greetprobe" {
		os.Exit(greetprobe.Run(ctx, os.Args, os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// logControl is systemctl's way in, by D-Bus. A container has neither.
func (d *daemon) logControl(context.Context) {
	if os.Getenv(config.EnvBusName) != "" {
		d.log.Event(logging.ConfigWarning, config.EnvBusName+" has no effect: greetd was built for containers, without D-Bus")
	}
}
