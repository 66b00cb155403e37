// A probe has to speak with servers that are too old for others, to say that they are.
//
//go:debug tlssha1=1
//go:debug rsa1024min=0

// Command greetprobe asks servers that speak first what they have to say: see greetprobe(1).
package main

import (
	"context"
	"os"
)

func main() { os.Exit(run(context.Background(), os.Args, os.Stdin, os.Stdout, os.Stderr)) }
