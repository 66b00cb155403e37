//go:build linux

package main

import (
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

// An examination is what check and config have to say of a configuration, as one process
// sees it. It goes as JSON from the unit's sandbox to the caller.
type examination struct {
	Name     string        // of the file and its drop-ins, in words
	Unusable []string      // the problems of the configuration itself
	Problems []string      // those, and the ones of certificates and greeting
	Warnings []string      // what is valid, and probably not meant
	YAML     string        // the effective configuration; "" if it is unusable
	Stop     time.Duration // that a stop may take
	Set      []listener    // those whose address is set
}

type listener struct{ Key, Name, Address string }

// examine looks at the configuration from here, with the rights of this process.
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

// holdAgainst adds the warnings that the unit gives cause for.
func (e *examination) holdAgainst(s unit.Service) {
	for _, l := range e.Set {
		if problem := s.NotServed(l.Name, l.Address); problem != "" {
			e.Warnings = append(e.Warnings, l.Key+": "+problem)
		}
	}
	if problem := s.StopTooLong(e.Stop); problem != "" {
		e.Warnings = append(e.Warnings, problem)
	}
}

// examineCommand is what a unit's sandbox runs for check and config.
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
