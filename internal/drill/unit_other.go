//go:build !linux

// Package drill counts the outcomes of clients that are started while a command runs. Drills of a unit are for Linux.
package drill

import (
	"context"
	"errors"
)

var errLinux = errors.New("--unit needs a machine that runs systemd, --do does not")

// A Unit is a unit of systemd. There is none here.
type Unit struct{ Name string }

// Open returns an error, as all the methods do.
func Open(context.Context, string) (*Unit, error) { return nil, errLinux }

// Close does nothing.
func (*Unit) Close() {}

// Killable returns an error.
func (*Unit) Killable(context.Context) error { return errLinux }

// Reloadable returns an error.
func (*Unit) Reloadable(context.Context) error { return errLinux }

// Restartable returns an error.
func (*Unit) Restartable(context.Context) error { return errLinux }

// SurvivesSoftReboot returns an error.
func (*Unit) SurvivesSoftReboot(context.Context) error { return errLinux }

// Restart returns an error.
func (*Unit) Restart(context.Context) error { return errLinux }

// Reload returns an error.
func (*Unit) Reload(context.Context) error { return errLinux }

// StopStart returns an error.
func (*Unit) StopStart(context.Context) error { return errLinux }

// Kill returns an error.
func (*Unit) Kill(context.Context) error { return errLinux }

// SoftReboot returns an error.
func (*Unit) SoftReboot(context.Context) error { return errLinux }

// Restore returns an error.
func (*Unit) Restore(context.Context) error { return errLinux }
