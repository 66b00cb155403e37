// Package logcontrol lets an operator see and change the level of the log over D-Bus, with systemctl
// service-log-level (org.freedesktop.LogControl1(5)).
package logcontrol

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"time"

	"github.com/godbus/dbus/v5"
)

// A Log is the log that is controlled.
type Log interface {
	Level() string               // fatal, error, warning, info or debug
	SetLevel(level string) error // sets one of these levels, until the next reload
	Output() string              // journald, syslog, stdout or stderr
}

const (
	firstPause = time.Second // before the bus is tried again; the pause doubles up to lastPause
	lastPause  = time.Minute
)

// Serve requests name on the system bus, and answers there for log, until ctx is done. If the connection is lost, or
// the bus refuses the name, it tries again. It calls troubled with the reason of the first failure, and again only
// after a success in between.
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

// serve answers until it can't any more, and returns the reason. lasted reports whether it has got the name.
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

// export exports the methods on the bus. It names each method, since [dbus.Conn.Export] finds methods by reflection,
// and the linker would then have to keep all methods of the program.
func export(bus *dbus.Conn, log Log) error {
	o := object{log}
	return errors.Join(
		bus.ExportMethodTable(map[string]any{"Get": o.Get, "GetAll": o.GetAll, "Set": o.Set}, path, properties),
		bus.ExportMethodTable(map[string]any{"Introspect": introspect}, path, introspection),
	)
}

// introspect returns the description of the interfaces in XML, for busctl introspect.
func introspect() (string, *dbus.Error) { return introspected, nil }

//go:embed introspect.xml
var introspected string

// The properties of org.freedesktop.LogControl1.
const (
	level      = "LogLevel"
	target     = "LogTarget"
	identifier = "SyslogIdentifier"
)

// syslogIdentifier is the SYSLOG_IDENTIFIER of greetd in the journal.
const syslogIdentifier = "greetd"

// An object implements org.freedesktop.DBus.Properties.
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

// GetAll returns all properties. An empty interface means org.freedesktop.LogControl1.
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

// Set sets the level. The other properties are read-only.
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

// levels has the level of greetd for each level of syslog(3), which D-Bus uses. Entries with the priority notice have
// the level info.
var levels = map[string]string{
	"emerg": "fatal", "alert": "fatal", "crit": "fatal",
	"err": "error", "warning": "warning", "notice": "info", "info": "info", "debug": "debug",
}

// levelNames and targetNames have the names on D-Bus for the levels and outputs of a Log.
var (
	levelNames  = map[string]string{"fatal": "crit", "error": "err", "warning": "warning", "info": "info", "debug": "debug"}
	targetNames = map[string]string{"journald": "journal", "syslog": "syslog", "stdout": "console", "stderr": "console"}
)

// refuse returns an error with a name of the D-Bus specification.
func refuse(name, format string, args ...any) *dbus.Error {
	return dbus.NewError("org.freedesktop.DBus.Error."+name, []any{fmt.Sprintf(format, args...)})
}
