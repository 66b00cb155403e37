//go:build linux

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"greetd.example/internal/admin"
	"greetd.example/internal/config"
	"greetd.example/internal/daemon"
	"greetd.example/internal/exit"
	"greetd.example/internal/unit"
	"greetd.example/pkg/systemd"
)

const (
	askTimeout      = 30 * time.Second // for all requests of a command: a reload may have to look up names
	identifyTimeout = 5 * time.Second  // for the request that identifies a daemon by its configuration file
)

// ask calls question with a client for the right daemon: the daemon of --instance, or the one that runs
// with the file of --config or $GREETD_CONFIG, or else the daemon of greetd.service. It never calls question
// for another daemon. changes means that question changes something. Since this is impossible over TCP, ask
// then tries unix sockets first.
func (p *program) ask(ctx context.Context, changes bool, question func(context.Context, *admin.Client) error) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	s := p.newSearch(changes)
	for _, address := range slices.Concat(s.addresses, s.found) {
		client := s.dial(address)
		if !s.isMeant(ctx, client) {
			continue
		}
		err := question(ctx, client)
		if c := (exit.Error{}); err == nil || errors.As(err, &c) {
			return err
		}
		if !errors.Is(err, admin.ErrNoDaemon) && !errors.Is(err, admin.ErrProtected) {
			return exit.Error{Code: exit.Failed, Err: err}
		}
		s.absent = err
	}
	return s.notFound()
}

// A search looks for one daemon.
type search struct {
	instance  instance
	addresses []string // addresses of the daemon to try, in this order
	file      string   // the configuration file that the daemon must run with; "": any daemon at addresses is right
	found     []string // further addresses, where other daemons may listen: the daemon must run with file, or with the default one
	read      string   // TCP address: if a daemon answers there, changes must reach this daemon; "": no such address
	unread    error    // the reason why admin.address could not be read from the configuration

	absent error   // no daemon listens at an address
	others []error // daemons that were found, but are not the right one
	failed []error // daemons that could not be identified, because their request failed
}

func (p *program) newSearch(changes bool) *search {
	s := &search{instance: p.instance}
	directory := systemd.RuntimeDirectory()
	if p.instance != "" {
		directory = p.instance.runtimeDirectory()
	}
	s.file = p.source.Path
	if s.file == "" && p.instance == "" {
		s.file = os.Getenv(config.EnvConfig)
	}
	if s.file != "" {
		s.file = absolute(s.file)
	}

	// The socket in the runtime directory comes first, since it can't have changed after the start of the
	// daemon. If the unit has its own runtime directory, no other daemon is right.
	if directory != "" {
		s.addresses = append(s.addresses, daemon.ControlAddress(directory))
	}
	loaded, err := config.Load(p.sourceOfUnit())
	s.unread = err
	if configured := loaded.Admin.Address; configured != "" {
		s.addresses = append(s.addresses, configured)
		if changes && !strings.HasPrefix(configured, "unix:") {
			s.read = configured
		}
	}
	if directory == "" {
		s.addresses = append(s.addresses, daemon.ControlAddress(new(instance).runtimeDirectory()))
		s.found = s.elsewhere()
	}
	if changes || loaded.Admin.WebConfigFile != "" {
		slices.SortStableFunc(s.addresses, func(a, b string) int { return cmp.Compare(overTCP(a), overTCP(b)) })
	}
	return s
}

// elsewhere returns addresses at which daemons listen, although the configuration does not have them: the
// configuration can be invalid, or can have changed since these daemons started.
func (s *search) elsewhere() []string {
	var all []string
	if s.file == "" && unit.Booted() {
		return nil // the right daemon is that of greetd.service, and not one that was started by hand
	}
	if s.file != "" {
		instances, _ := filepath.Glob("/run/greetd@*/admin.sock") // the pattern is valid
		for _, socket := range instances {
			all = append(all, "unix:"+socket)
		}
	}
	for _, address := range admin.Find() {
		if !slices.Contains(all, address) && !slices.Contains(s.addresses, address) {
			all = append(all, address)
		}
	}
	return all
}

func overTCP(address string) int {
	if strings.HasPrefix(address, "unix:") {
		return 0
	}
	return 1
}

func (s *search) dial(address string) *admin.Client {
	client := admin.Dial(address)
	client.Unit = s.instance.unit()
	return client
}

// isMeant reports whether client reaches the right daemon. If not, it stores the reason for notFound.
func (s *search) isMeant(ctx context.Context, client *admin.Client) bool {
	file, found := s.file, slices.Contains(s.found, client.Address())
	if found {
		file = cmp.Or(file, config.DefaultPath)
	}
	if file == "" && s.read == "" {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, identifyTimeout)
	defer cancel()
	status, err := client.Status(ctx)
	switch {
	case errors.Is(err, admin.ErrNoDaemon):
		s.absent = cmp.Or(s.absent, err)
		return false
	case err != nil && found: // it may be no daemon, or one of another user
		return false
	case err != nil:
		s.failed = append(s.failed, err)
		return false
	case file != "" && !runsWith(status, file):
		s.others = append(s.others, fmt.Errorf("the daemon at %s (PID %d) runs with %s, not with %s",
			client.Address(), status.PID, cmp.Or(status.Configuration.Path, "the default configuration"), file))
		return false
	}
	if s.read == "" || s.read == client.Address() {
		return true
	}
	meant, err := s.dial(s.read).Status(ctx)
	if err == nil && meant.PID != status.PID {
		s.others = append(s.others, fmt.Errorf("the daemon at %s (PID %d, with %s) is not the one at admin.address %s (PID %d, with %s)",
			client.Address(), status.PID, cmp.Or(status.Configuration.Path, "the default configuration"),
			s.read, meant.PID, cmp.Or(meant.Configuration.Path, "the default configuration")))
		return false
	}
	return true
}

// runsWith reports whether the daemon with this status loads file at its next reload.
func runsWith(status admin.Status, file string) bool {
	own := cmp.Or(status.Configuration.Path, config.DefaultPath)
	if own == file {
		return true
	}
	a, err := os.Stat(own)
	if err != nil {
		return false
	}
	b, err := os.Stat(file)
	return err == nil && os.SameFile(a, b)
}

// notFound returns the reasons why the right daemon was not found.
func (s *search) notFound() error {
	if len(s.failed) > 0 {
		return exit.Error{Code: exit.Failed, Err: errors.Join(append(s.failed, s.others...)...)}
	}
	problems := []error{s.absent}
	if len(s.others) > 0 {
		problems = s.others
		if s.file != "" {
			absent := fmt.Errorf("%w that runs with %s: start one, or name another with --config or --instance", admin.ErrNoDaemon, s.file)
			problems = append([]error{absent}, s.others...)
		}
	}
	if s.unread != nil {
		problems = append(problems, errors.New("could not read admin.address from the configuration, for these reasons"), s.unread)
	}
	return exit.Error{Code: exit.NoDaemon, Err: errors.Join(problems...)}
}

// sourceOfUnit returns the source from which the daemon of the unit loads its configuration.
func (p *program) sourceOfUnit() config.Source {
	source := p.source
	source.Path = cmp.Or(source.Path, p.instance.path())
	return source
}

// absolute returns path as an absolute path. If there is no working directory, it returns path unchanged.
func absolute(path string) string {
	if all, err := filepath.Abs(path); err == nil {
		return all
	}
	return path
}
