//go:build linux

package main

import (
	"encoding/json"
	"io"
	"os"

	"greetd.example/internal/config"
	"greetd.example/internal/exit"
)

// program has the state that all commands share.
type program struct {
	stdout *os.File
	stderr *os.File
	source config.Source

	instance instance // the value of --instance
}

// print prints what a command has found, as text or as JSON.
func (p *program) print(found interface{ WriteText(io.Writer) error }, asJSON bool) error {
	if !asJSON {
		return failedToWrite(found.WriteText(p.stdout))
	}
	out := json.NewEncoder(p.stdout)
	out.SetEscapeHTML(false)
	out.SetIndent("", "  ")
	return failedToWrite(out.Encode(found))
}

// failedToWrite returns err, an error of writing to stdout, as an [exit.Error]. It returns nil for nil.
func failedToWrite(err error) error {
	if err == nil {
		return nil
	}
	return exit.Error{Code: exit.Failed, Err: err}
}
