// Package logcontrol lets an operator look at the log and change its level over D-Bus:
// systemctl service-log-level (org.freedesktop.LogControl1(5)).
package logcontrol

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"time"

	"github.com/godbus/dbus/v5"
)

// A Log is what is controlled.
type Log interface {
	Level() string               // fatal, error, warning, info or debug
	SetLevel(level string) error // to one of those, until the next reload
	Output() string              // journald, syslog, stdout or stderr
}

const (
	firstPause = time.Second // before the bus is tried again; doubles up to
	lastPause  = time.Minute
)

// Serve has name on the system bus and answers there for log, until ctx ends. When the
// bus is lost, or does not give the name, it tries again, and calls troubled once with
// the reason; once more when there was success in between.
func Serve(ctx context.Context, name string, log Log, troubled func(error)) {
	pause, reported := firstPause, false
	for {
		lasted, err := serve(ctx, name, log)
		if ctx.Err() != nil {
			return
		}
		if lasted {
			pause, reported = firstPause, false
		}
		if !reported {
			troubled(err)
			reported = true
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		pause = min(2*pause, lastPause)
	}
}

var errLost = errors.New("the connection to the system bus is lost")

// serve returns why it could not answer any more, and whether it could at first.
func serve(ctx context.Context, name string, log Log) (lasted bool, err error) {
	bus, err := dbus.ConnectSystemBus(dbus.WithContext(ctx))
	if err != nil {
		return false, fmt.Errorf("connect to the system bus: %w", err)
	}
	defer bus.Close()
	if err := export(bus, log); err != nil {
		return false, err
	}
	reply, err := bus.RequestName(name, dbus.NameFlagDoNotQueue)
	switch {
	case err != nil:
		return false, fmt.Errorf("ask the system bus for the name %s: %w", name, err)
	case reply != dbus.RequestNameReplyPrimaryOwner:
		return false, fmt.Errorf("ask the system bus for the name %s: another process has it", name)
	}
	<-bus.Context().Done()
	return true, errLost
}

const (
	controlled    = "org.freedesktop.LogControl1"
	path          = "/org/freedesktop/LogControl1"
	properties    = "org.freedesktop.DBus.Properties"
	introspection = "org.freedesktop.DBus.Introspectable"
)

// export names each method: [dbus.Conn.Export] would look for them by reflection, and for
// that the linker would have to keep all methods that there are.
func export(bus *dbus.Conn, log Log) error {
	o := object{log}
	return errors.Join(
		bus.ExportMethodTable(map[string]any{"Get": o.Get, "GetAll": o.GetAll, "Set": o.Set}, path, properties),
		bus.ExportMethodTable(map[string]any{"Introspect": introspect}, path, introspection),
	)
}

// introspect says what there is: busctl introspect shows it.
func introspect() (string, *dbus.Error) { return introspected, nil }

//go:embed introspect.xml
var introspected string

// The properties of org.freedesktop.LogControl1.
const (
	level      = "LogLevel"
	target     = "LogTarget"
	identifier = "SyslogIdentifier"
)

// SyslogIdentifier is what greetd is called in the journal.
const syslogIdentifier = "greetd"

// An object answers for org.freedesktop.DBus.Properties.
type object struct{ log Log }

// Get returns the value of one property.
func (o object) Get(iface, property string) (dbus.Variant, *dbus.Error) {
	all, err := o.GetAll(iface)
	if err != nil {
		return dbus.Variant{}, err
	}
	value, known := all[property]
	if !known {
		return dbus.Variant{}, refuse("UnknownProperty", "there is no property %q: there are %s, %s and %s", property, level, target, identifier)
	}
	return value, nil
}

// GetAll returns all properties. An empty interface means ours.
func (o object) GetAll(iface string) (map[string]dbus.Variant, *dbus.Error) {
	if iface != "" && iface != controlled {
		return nil, refuse("UnknownInterface", "there is no interface %q: there is %s", iface, controlled)
	}
	return map[string]dbus.Variant{
		level:      dbus.MakeVariant(levelNames[o.log.Level()]),
		target:     dbus.MakeVariant(targetNames[o.log.Output()]),
		identifier: dbus.MakeVariant(syslogIdentifier),
	}, nil
}

// Set changes the level.
func (o object) Set(iface, property string, value dbus.Variant) *dbus.Error {
	if _, err := o.Get(iface, property); err != nil {
		return err
	}
	if property != level {
		return refuse("PropertyReadOnly", "%s can't be changed this way: see the section log of greetd.yaml", property)
	}
	name, _ := value.Value().(string)
	wanted, known := levels[name]
	if !known {
		return refuse("InvalidArgs", "%v is not one of emerg, alert, crit, err, warning, notice, info, debug", value)
	}
	if err := o.log.SetLevel(wanted); err != nil {
		return refuse("Failed", "%v", err)
	}
	return nil
}

// levels are those of syslog(3), which D-Bus speaks of, as greetd has them. What is a
// notice is logged with info.
var levels = map[string]string{
	"emerg": "fatal", "alert": "fatal", "crit": "fatal",
	"err": "error", "warning": "warning", "notice": "info", "info": "info", "debug": "debug",
}

// levelNames and targetNames are how D-Bus calls what a Log says.
var (
	levelNames  = map[string]string{"fatal": "crit", "error": "err", "warning": "warning", "info": "info", "debug": "debug"}
	targetNames = map[string]string{"journald": "journal", "syslog": "syslog", "stdout": "console", "stderr": "console"}
)

// refuse makes one of the errors of the D-Bus specification.
func refuse(name, format string, args ...any) *dbus.Error {
	return dbus.NewError("org.freedesktop.DBus.Error."+name, []any{fmt.Sprintf(format, args...)})
}
