//go:build container

// Greetd greets whoever connects: see greetd(8). Called as greetprobe it is that, see
// greetprobe(1): two programs in one file, for an image of little more than half the size.
package main

import (
	"context"
	"os"
	"path/filepath"

	"greetd.example/cmd/internal/greetprobe"
)

func main() {
	ctx := context.Background()
	if filepath.Base(os.Args[0]) == "greetprobe" {
		os.Exit(greetprobe.Run(ctx, os.Args, os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}
