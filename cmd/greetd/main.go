//go:build linux

// Greetd is a TCP greeting daemon for systemd: see greetd(8).
package main

import (
	"context"
	"os"

	_ "greetd.example/internal/hangup" // until run begins
	"greetd.example/internal/stdout"
)

func main() {
	stdout.FailIfClosed()
	os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
}
