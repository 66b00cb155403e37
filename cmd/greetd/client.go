package main

import (
	"context"
	"errors"
	"time"

	"greetd.example/internal/admin"
	"greetd.example/internal/config"
	"greetd.example/internal/daemon"
	"greetd.example/internal/exit"
	"greetd.example/pkg/systemd"
)

// defaultRuntimeDirectory is RuntimeDirectory= of greetd.service, for those who call
// a command outside the unit.
const defaultRuntimeDirectory = "/run/greetd"

// askTimeout bounds a conversation with the daemon. A reload may have to look up names.
const askTimeout = 30 * time.Second

// ask puts a question to the daemon at each address where it may be, until one answers.
func (p *program) ask(ctx context.Context, question func(context.Context, *admin.Client) error) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	addresses, unread := p.adminAddresses()
	var err error
	for _, address := range addresses {
		if err = question(ctx, admin.Dial(address)); !errors.Is(err, admin.ErrNoDaemon) {
			break
		}
	}
	var c exit.Error
	switch {
	case err == nil || errors.As(err, &c):
		return err
	case errors.Is(err, admin.ErrNoDaemon) && unread != nil:
		return exit.Error{Code: exit.NoDaemon, Err: errors.Join(err, errors.New("admin.address may tell another place, but can't be read"), unread)}
	case errors.Is(err, admin.ErrNoDaemon):
		return exit.Error{Code: exit.NoDaemon, Err: err}
	default:
		return exit.Error{Code: exit.Failed, Err: err}
	}
}

// adminAddresses begins with what can't have changed since the daemon started. In a unit
// with a runtime directory of its own, an instance for example, no other daemon will do.
// unread says why the configuration could not tell.
func (p *program) adminAddresses() (addresses []string, unread error) {
	directory := systemd.RuntimeDirectory()
	if directory != "" {
		addresses = append(addresses, daemon.ControlAddress(directory))
	}
	loaded, unread := config.Load(p.source)
	if unread == nil && loaded.Admin.Address != "" {
		addresses = append(addresses, loaded.Admin.Address)
	}
	if directory == "" {
		addresses = append(addresses, daemon.ControlAddress(defaultRuntimeDirectory))
	}
	return addresses, unread
}
