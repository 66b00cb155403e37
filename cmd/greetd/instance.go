//go:build linux

package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// An instance is the NAME of a unit greetd@NAME.service, escaped as in the unit's name; ""
// is greetd.service.
type instance string

// maxUnitName is what systemd allows (UNIT_NAME_MAX, less the zero at its end).
const maxUnitName = 255

// Set implements [pflag.Value]. It escapes what a unit's name can't have, as systemctl does
// with the names that it is given.
func (i *instance) Set(name string) error {
	if name == "" {
		return errors.New("must not be empty: give the NAME of greetd@NAME.service")
	}
	var escaped strings.Builder
	for _, c := range []byte(name) {
		switch {
		case c == '/':
			escaped.WriteByte('-')
		case 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte(`@:-_.\`, c) >= 0:
			escaped.WriteByte(c)
		default:
			fmt.Fprintf(&escaped, `\x%02x`, c)
		}
	}
	if n := len("greetd@" + escaped.String() + ".service"); n > maxUnitName {
		return fmt.Errorf("makes a unit name of %d bytes: systemd allows %d", n, maxUnitName)
	}
	*i = instance(escaped.String())
	return nil
}

// String implements [pflag.Value].
func (i *instance) String() string { return string(*i) }

// Type implements [pflag.Value].
func (i *instance) Type() string { return "NAME" }

var _ pflag.Value = (*instance)(nil)

// unit is the one that runs the daemon, without its ".service".
func (i *instance) unit() string {
	if *i == "" {
		return "greetd"
	}
	return "greetd@" + string(*i)
}

// runtimeDirectory is RuntimeDirectory= of that unit.
func (i *instance) runtimeDirectory() string { return "/run/" + i.unit() }

// path is the configuration that greetd@.service names; "" for greetd.service, which
// names none.
func (i *instance) path() string {
	if *i == "" {
		return ""
	}
	return "/etc/greetd/" + string(*i) + ".yaml"
}

// addInstanceFlag gives cmd the flag --instance.
func (p *program) addInstanceFlag(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().Var(&p.instance, "instance", "the daemon and the unit greetd@`NAME`, with /etc/greetd/NAME.yaml")
	return cmd
}
