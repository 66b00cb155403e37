// Command greetprobe asks servers that speak first what they have to say.
package main

import (
	"context"
	"os"

	"greetd.example/cmd/internal/greetprobe"
)

func main() {
	os.Exit(greetprobe.Run(context.Background(), os.Args, os.Stdin, os.Stdout, os.Stderr))
}
