//go:build linux

package main

import (
	"os"

	"greetd.example/internal/config"
	"greetd.example/internal/exit"
)

// program is what the commands share.
type program struct {
	stdout *os.File
	stderr *os.File
	source config.Source

	instance instance // of --instance
}

// failedToWrite gives an error of writing to stdout its exit code; nil stays nil.
func failedToWrite(err error) error {
	if err == nil {
		return nil
	}
	return exit.Error{Code: exit.Failed, Err: err}
}
