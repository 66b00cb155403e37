package main

import (
	"fmt"
	"io"
	"strings"

	"greetd.example/internal/usage"
)

type streams struct {
	in       io.Reader
	out, err io.Writer
}

func (s streams) say(format string, args ...any) {
	fmt.Fprintf(s.err, "greetprobe: "+format+"\n", args...)
}

// sayEach writes each line of err as a diagnostic line.
func (s streams) sayEach(err error) {
	for line := range strings.Lines(err.Error()) {
		s.say("%s", strings.TrimSuffix(line, "\n"))
	}
}

// fail ends a command because of err.
func (s streams) fail(err error, code int) error {
	s.sayEach(err)
	return exitCode(code)
}

// failed reports whether standard output could not be written.
func (s streams) failed() bool {
	out, ok := s.out.(*usage.Output)
	return ok && out.Err != nil
}

// exitCode is an error that ends a command with this exit code. No message is printed for it.
type exitCode int

func (c exitCode) Error() string { return fmt.Sprintf("exit %d", int(c)) }

// exitWith returns code as an error; nil for exitOK.
func exitWith(code int) error {
	if code == exitOK {
		return nil
	}
	return exitCode(code)
}
