//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"greetd.example/internal/config"
	"greetd.example/internal/settings"
	"greetd.example/internal/unit"
)

// An examination has the facts about a configuration that check and config print, as one process sees the
// configuration. The sandbox of the unit sends it to the caller as JSON.
type examination struct {
	Name     string        // of the file and its drop-ins, in words
	Unusable []string      // the problems of the configuration itself
	Problems []string      // the problems in Unusable, and those of certificates and of the greeting
	Warnings []string      // about values that are valid, but probably not intended
	YAML     string        // the effective configuration; "" if it is unusable
	Stop     time.Duration // the maximum time of a stop: lame duck and drain
	Set      []listener    // listeners whose address is not the default
}

type listener struct{ Key, Name, Address string }

// examine examines the configuration with the permissions and the environment of this process.
func examine(source config.Source) examination {
	loaded, err := config.Load(source)
	e := examination{Name: loaded.Name(), Unusable: lines(err)}
	if len(loaded.Files()) == 0 {
		e.Name = "no file"
	}
	if err == nil {
		e.YAML = string(loaded.YAML())
		e.Stop = loaded.Timeouts.LameDuck + loaded.Timeouts.Drain
	}
	for i, l := range loaded.Listeners {
		if key := fmt.Sprintf("listeners[%d].address", i); loaded.IsSet(key) {
			e.Set = append(e.Set, listener{key, l.Name, l.Address})
		}
	}
	settings.Doubts(loaded.Config, func(key, doubt string) {
		e.Warnings = append(e.Warnings, loaded.Problem(key, errors.New(doubt)).Error())
	})
	_, _, err = settings.Load(source)
	e.Problems = lines(err)
	return e
}

func lines(err error) []string {
	if err == nil {
		return nil
	}
	return strings.Split(err.Error(), "\n")
}

// holdAgainst compares the configuration with a unit, and adds a warning for each conflict. It adds none if
// systemd does not answer.
func (e *examination) holdAgainst(ctx context.Context, name string) {
	s, err := unit.Ask(ctx, name)
	if err != nil {
		return
	}
	for _, l := range e.Set {
		if problem := s.NotServed(l.Name, l.Address); problem != "" {
			e.Warnings = append(e.Warnings, l.Key+": "+problem)
		}
	}
	if problem := s.StopTooLong(e.Stop); problem != "" {
		e.Warnings = append(e.Warnings, problem)
	}
}

// examineCommand returns the hidden command that check and config run in the sandbox of the unit.
func (p *program) examineCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:    examineName,
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p.source.Listen = cmd.Flags().Lookup("listen")
			return failedToWrite(json.NewEncoder(p.stdout).Encode(examine(p.source)))
		},
	}
	cmd.Flags().StringArray("listen", nil, "as for serve")
	return cmd
}

const examineName = "examine"
