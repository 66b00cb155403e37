//go:build !linux

// Package drill counts the outcomes of clients that are started while a command runs. Drills of a unit are for Linux.
package drill

import (
	"context"
	"errors"
)

// A Unit is a unit of systemd. There is none here, so that nobody can call its methods.
type Unit struct {
	Name string
	methods
}

type methods interface {
	Close()
	Killable(ctx context.Context) error
	Reloadable(ctx context.Context) error
	Restartable(ctx context.Context) error
	SurvivesSoftReboot(ctx context.Context) error
	Restart(ctx context.Context) error
	Reload(ctx context.Context) error
	StopStart(ctx context.Context) error
	Kill(ctx context.Context) error
	SoftReboot(ctx context.Context) error
	Restore(ctx context.Context) error
}

// Open returns an error.
func Open(context.Context, string) (*Unit, error) {
	return nil, errors.New("--unit needs a machine that runs systemd, --do does not")
}
