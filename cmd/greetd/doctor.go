//go:build linux

package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"greetd.example/internal/admin"
	"greetd.example/internal/certificate"
	"greetd.example/internal/config"
	"greetd.example/internal/doctor"
	"greetd.example/internal/exit"
	"greetd.example/internal/settings"
	"greetd.example/pkg/systemd"
)

// doctorTimeout is the maximum time to wait for the daemon, which may not answer.
const doctorTimeout = 5 * time.Second

func (p *program) doctorCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Find out why greetd does not start or work, and how to fix it",
		Long: `doctor examines the running daemon, its process, its units and this machine. For
each check it prints the result, and a remedy if there is a problem. It changes
nothing. Run it as root to see the most. The exit code is 1 if there is a
problem, and 0 if there are only warnings or checks that could not be made.`,
		Example: `  greetd doctor
  greetd doctor --json | jq '.findings[] | select(.verdict == "problem")'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			report := doctor.Examine(doctor.Gather(cmd.Context(), p.place()))
			if err := p.print(report, asJSON); err != nil {
				return err
			}
			if !report.Healthy {
				return exit.Error{Code: exit.Failed}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, for programs")
	return cmd
}

// place returns the facts and functions that the package doctor can't have by itself.
func (p *program) place() doctor.Place {
	place := doctor.Place{Unit: p.instance.unit() + ".service"}
	// The runtime directory of a unit has the name of the unit.
	if directory := systemd.RuntimeDirectory(); directory != "" && p.instance == "" {
		place.Unit = filepath.Base(directory) + ".service"
	}
	path := ""
	place.Ask = func(ctx context.Context) (status *admin.Status, address string, err error) {
		ctx, cancel := context.WithTimeout(ctx, doctorTimeout)
		defer cancel()
		err = p.ask(ctx, false, func(ctx context.Context, daemon *admin.Client) error {
			answer, err := daemon.Status(ctx)
			status, address = &answer, daemon.Address()
			return err
		})
		if err != nil {
			addresses := p.newSearch(false).addresses
			return nil, addresses[len(addresses)-1], err // the usual address
		}
		path = status.Configuration.Path
		status.Listeners = slices.DeleteFunc(status.Listeners, func(l admin.Listener) bool { return l.State.Gone() })
		return status, address, nil
	}
	place.Configure = func(environ []string) doctor.Config { return p.configFor(environ, path) }
	return place
}

// adoptEnvironment replaces the environment of this process by environ, that of a daemon. It returns a
// function that restores the environment.
func adoptEnvironment(environ []string) (restore func()) {
	own := os.Environ()
	replace := func(variables []string) {
		os.Clearenv()
		for _, variable := range variables {
			name, value, _ := strings.Cut(variable, "=")
			_ = os.Setenv(name, value) // fails only for names that are not valid in an environment
		}
	}
	replace(environ)
	return func() { replace(own) }
}

// configFor loads the configuration that a daemon with this environment would load if it started now. If
// environ is nil, it uses the environment of the caller. path is the configuration file of the running
// daemon; it is used if the source has none.
func (p *program) configFor(environ []string, path string) doctor.Config {
	source := p.sourceOfUnit()
	if environ != nil {
		defer adoptEnvironment(environ)()
	}
	if source.Path == "" {
		source.Path = path
	}
	loaded, err := config.Load(source)
	hidden := err == nil && needsCredentials(loaded.Config)
	var built settings.Settings
	if err == nil && !hidden {
		_, built, err = settings.Load(source)
	}
	c := doctor.Config{Loaded: config.Loaded{Path: source.Path}}
	if environ != nil {
		c.Problems, c.Warnings = p.asUnitSees(source.Path)
	}
	switch {
	case c.Problems != nil:
		return c
	case errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0:
		c.Forbidden = true
		return c
	case err != nil:
		c.Problems = lines(err)
		return c
	}
	c.Loaded, c.Hidden = loaded, hidden
	for _, pair := range built.Certificates {
		own := pair.Served()
		c.Certificates = append(c.Certificates, doctor.Certificate{
			Listener: pair.Listener, Path: pair.ChainFile, NotBefore: own.NotBefore, NotAfter: own.NotAfter,
			SHA256: certificate.Fingerprint(own), Credential: pair.IsCredential(),
		})
	}
	return c
}

// asUnitSees returns the problems and warnings that `greetd check` reports as root. It returns none if the
// configuration can't be examined in the sandbox of the unit.
func (p *program) asUnitSees(path string) (problems, warnings []string) {
	ctx, cancel := context.WithTimeout(context.Background(), asUnitTimeout)
	defer cancel()
	name := p.instance.unit() + ".service"
	text, whyNot := unitText(ctx, name)
	if whyNot != "" || systemd.Unit() == name {
		return nil, nil
	}
	other := *p
	other.source.Path = path
	e, err := other.examineAs(ctx, text)
	if err != nil {
		return lines(err), nil
	}
	e.holdAgainst(ctx, name)
	return e.Problems, e.Warnings
}

// needsCredentials reports whether a certificate or key of c is a credential, and this process has none.
// Only the processes of the unit can read it then.
func needsCredentials(c config.Config) bool {
	for _, l := range c.Listeners {
		if l.TLS.Certificate != "" && (!filepath.IsAbs(l.TLS.Certificate) || !filepath.IsAbs(l.TLS.Key)) {
			return systemd.CredentialsDirectory() == ""
		}
	}
	return false
}
