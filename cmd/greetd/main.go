// Greetd greets whoever connects, as a service of systemd's should: see greetd(8).
package main

import (
	"context"
	"os"
)

func main() { os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr)) }
