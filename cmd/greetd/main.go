//go:build linux

// Greetd is a TCP greeting daemon for systemd: see greetd(8).
package main

import (
	"context"
	"os"

	_ "greetd.example/internal/hangup" // until run begins
)

func main() { os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr)) }
