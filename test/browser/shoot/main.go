// Shoot writes a picture of the page at URL to its standard output, as PNG.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"

	"greetd.example/test/browser"
)

func main() {
	if err := shoot(); err != nil {
		fmt.Fprintln(os.Stderr, "shoot:", err)
		os.Exit(1)
	}
}

func shoot() error {
	look := browser.Look{}
	flag.IntVar(&look.Width, "width", 1100, "of the page, in pixels of CSS")
	flag.IntVar(&look.Height, "height", 10, "at least, in pixels of CSS")
	flag.IntVar(&look.Scale, "scale", 2, "pixels of the picture for each pixel of CSS")
	ready := flag.String("ready", "true", "JavaScript that is true when the page may be taken")
	chromium := flag.String("chromium", "chromium", "the browser")
	flag.Parse()

	b, err := browser.Start(context.Background(), *chromium)
	if err != nil {
		return err
	}
	defer b.Close()
	tab, err := b.Open(flag.Arg(0), look)
	if err != nil {
		return err
	}
	if err := tab.Wait(*ready); err != nil {
		return err
	}
	if problems := tab.Problems(); len(problems) > 0 {
		return fmt.Errorf("%s: %q", flag.Arg(0), problems)
	}
	picture, err := tab.Picture()
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(picture)
	return errors.Join(err, os.Stdout.Close())
}
