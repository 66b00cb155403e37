// A probe must be able to connect to servers with old algorithms, which Go disables, to report that they are old.
//
//go:debug tlssha1=1
//go:debug rsa1024min=0

// Command greetprobe probes servers that send a greeting first: see greetprobe(1).
package main

import (
	"context"
	"os"

	"greetd.example/internal/stdout"
)

func main() {
	stdout.FailIfClosed()
	os.Exit(run(context.Background(), os.Args, os.Stdin, os.Stdout, os.Stderr))
}
