//go:build linux

package main

import (
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

// failedToWrite returns err, an error of writing to stdout, as an [exit.Error]. It returns nil for nil.
func failedToWrite(err error) error {
	if err == nil {
		return nil
	}
	return exit.Error{Code: exit.Failed, Err: err}
}
