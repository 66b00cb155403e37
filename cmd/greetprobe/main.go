// Command greetprobe asks servers that speak first what they have to say: see greetprobe(1).
package main

import (
	"context"
	"os"
)

func main() { os.Exit(run(context.Background(), os.Args, os.Stdin, os.Stdout, os.Stderr)) }
