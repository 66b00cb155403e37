//go:build linux

package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// An instance is the NAME of a unit greetd@NAME.service, escaped as in the name of the unit. "" stands for
// greetd.service.
type instance string

// maxUnitName is the maximum length of the name of a unit (UNIT_NAME_MAX of systemd, without the NUL at its
// end).
const maxUnitName = 255

// Set implements [pflag.Value]. It escapes characters that are not allowed in the name of a unit, as
// systemctl does with its arguments.
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

// unit returns the name of the unit of the daemon, without ".service".
func (i *instance) unit() string {
	if *i == "" {
		return "greetd"
	}
	return "greetd@" + string(*i)
}

// runtimeDirectory returns the path of RuntimeDirectory= of this unit.
func (i *instance) runtimeDirectory() string { return "/run/" + i.unit() }

// path returns the configuration file that greetd@.service sets. It returns "" for greetd.service, which
// sets none.
func (i *instance) path() string {
	if *i == "" {
		return ""
	}
	return "/etc/greetd/" + string(*i) + ".yaml"
}

// addInstanceFlag adds the flag --instance to cmd, and returns cmd.
func (p *program) addInstanceFlag(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().Var(&p.instance, "instance", "the daemon and the unit greetd@`NAME`, with /etc/greetd/NAME.yaml")
	return cmd
}
