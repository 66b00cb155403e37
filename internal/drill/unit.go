//go:build linux

// Package drill restarts, reloads and kills a unit on purpose, and counts the outcomes of clients that are started at the
// same time.
package drill

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
)

// A Unit is a unit of systemd, controlled over D-Bus. This needs root, or a permission by polkit.
type Unit struct {
	Name string

	conn      *dbus.Conn
	triggered bool // the unit was inactive, and another unit waits for clients to start it
}

// startTime is how long Open waits for a unit that is being started.
const startTime = 5 * time.Second

// Open connects to systemd. It returns an error unless the unit, or a socket unit that starts it, is active. The caller
// must close the Unit.
func Open(ctx context.Context, name string) (*Unit, error) {
	conn, err := dbus.NewWithContext(context.WithoutCancel(ctx)) // Restore needs it after an interrupt
	if err != nil {
		return nil, fmt.Errorf("ask systemd for %s: %w; --unit needs a machine that runs systemd, --do does not", name, err)
	}
	u := &Unit{Name: name, conn: conn}
	if err := u.ready(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return u, nil
}

// ready returns an error with a remedy if the unit can't be drilled. It waits for a unit that is being started.
func (u *Unit) ready(ctx context.Context) error {
	soon, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	_ = u.await(soon, "start", func() (bool, error) {
		state, err := u.state(soon)
		return state != "activating", err
	})
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	p, err := u.conn.GetUnitPropertiesContext(ctx, u.Name)
	if err != nil && strings.Contains(err.Error(), "neither a valid invocation ID nor unit name") {
		return fmt.Errorf("%s is not a valid name of a unit: see systemctl list-units", u.Name)
	}
	if err != nil {
		return fmt.Errorf("ask systemd for %s: %w", u.Name, err)
	}
	state, _ := p["ActiveState"].(string)
	load, _ := p["LoadState"].(string)
	triggers, _ := p["TriggeredBy"].([]string)
	u.triggered = state == "inactive" && slices.ContainsFunc(triggers, func(name string) bool {
		state, err := u.stateOf(ctx, name)
		return err == nil && state == "active"
	})
	switch {
	case load == "not-found":
		return fmt.Errorf("there is no unit %s: see systemctl list-units", u.Name)
	case load == "masked":
		return fmt.Errorf("%s is masked: systemctl unmask %s, and start it first", u.Name, u.Name)
	case state == "active" || state == "reloading" || u.triggered:
		return nil
	case state == "failed":
		return fmt.Errorf("%s has failed: see systemctl status %s, and start it first", u.Name, u.Name)
	}
	return fmt.Errorf("%s is %s: start it first (systemctl start %s)", u.Name, state, u.Name)
}

// Close closes the connection to systemd.
func (u *Unit) Close() { u.conn.Close() }

// property returns a property of the unit with this name. kind is Unit, or the type of the unit, such as Service.
func property[T any](ctx context.Context, u *Unit, name, kind, property string) (value T, err error) {
	p, err := u.conn.GetUnitTypePropertyContext(ctx, name, kind, property)
	if err != nil {
		return value, fmt.Errorf("ask systemd for %s: %w", name, err)
	}
	value, _ = p.Value.Value().(T)
	return value, nil
}

func (u *Unit) state(ctx context.Context) (string, error) { return u.stateOf(ctx, u.Name) }

func (u *Unit) stateOf(ctx context.Context, name string) (string, error) {
	return property[string](ctx, u, name, "Unit", "ActiveState")
}

// A job is one of the methods of [dbus.Conn] that start a job and send its result.
type job func(ctx context.Context, name, mode string, result chan<- string) (int, error)

// Reloadable returns an error if the unit can't be reloaded.
func (u *Unit) Reloadable(ctx context.Context) error {
	can, err := property[bool](ctx, u, u.Name, "Unit", "CanReload")
	if err == nil && !can {
		err = fmt.Errorf("%s cannot be reloaded, since it has no ExecReload=: leave out --reload", u.Name)
	}
	return err
}

// Killable returns an error if the service has no main process.
func (u *Unit) Killable(ctx context.Context) error {
	pid, err := u.mainPID(ctx)
	if err == nil && pid == 0 {
		err = fmt.Errorf("%s has no main process: leave out --kill", u.Name)
	}
	return err
}

// Restartable returns an error if a stop or restart of the unit would stop other units, or if systemd would not start
// the unit again.
func (u *Unit) Restartable(ctx context.Context) error {
	others, err := u.active(ctx, "RequiredBy", "RequisiteOf", "BoundBy", "ConsistsOf", "PropagatesStopTo")
	if err == nil && len(others) > 0 {
		err = fmt.Errorf("systemd would stop %s together with %s: stop them first, or leave out --restart and --stop-start",
			strings.Join(others, ", "), u.Name)
	}
	if err != nil || !strings.HasSuffix(u.Name, ".socket") {
		return err
	}
	services, err := u.active(ctx, "Triggers")
	if err == nil && len(services) > 0 {
		err = fmt.Errorf("systemd does not start %s while %s is active: use --unit %[2]s", u.Name, services[0])
	}
	return err
}

// active returns the active units to which the unit has these relations.
func (u *Unit) active(ctx context.Context, relations ...string) (names []string, err error) {
	for _, relation := range relations {
		others, _ := property[[]string](ctx, u, u.Name, "Unit", relation) // older versions of systemd do not have each of them
		for _, name := range others {
			state, err := u.stateOf(ctx, name)
			if err != nil {
				return nil, err
			}
			if (state == "active" || state == "activating") && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names, nil
}

// run starts the job, and waits until systemd reports its result. It resets the count for StartLimitBurst= of the unit, since
// these starts are on purpose.
func (u *Unit) run(ctx context.Context, what string, start job) error {
	_ = u.conn.ResetFailedUnitContext(ctx, u.Name)
	result := make(chan string, 1)
	if _, err := start(ctx, u.Name, "replace", result); err != nil {
		return u.refused(what, err)
	}
	select {
	case how := <-result:
		if how != "done" {
			return fmt.Errorf("%s %s: the job ended with %q: see systemctl status %s", what, u.Name, how, u.Name)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s %s: %w", what, u.Name, context.Cause(ctx))
	}
}

// refused returns the error for a request that systemd has refused, with a remedy.
func (u *Unit) refused(what string, err error) error {
	if text := err.Error(); strings.Contains(text, "authentication required") || strings.Contains(text, "denied") {
		return fmt.Errorf("%s %s: run it as root, or allow it by polkit: %w", what, u.Name, err)
	}
	return fmt.Errorf("%s %s: %w", what, u.Name, err)
}

// Restart restarts the unit, and returns when systemd reports the end of the restart.
func (u *Unit) Restart(ctx context.Context) error {
	return u.run(ctx, "restart", u.conn.RestartUnitContext)
}

// Reload reloads the unit, and returns when systemd reports the end of the reload.
func (u *Unit) Reload(ctx context.Context) error {
	return u.run(ctx, "reload", u.conn.ReloadUnitContext)
}

// StopStart stops the unit and starts it again at once.
func (u *Unit) StopStart(ctx context.Context) error {
	if err := u.run(ctx, "stop", u.conn.StopUnitContext); err != nil {
		return err
	}
	return u.run(ctx, "start", u.conn.StartUnitContext)
}

// Kill sends SIGKILL to the main process, and returns when the unit is active with another main process. It returns an error
// if systemd does not restart the unit.
func (u *Unit) Kill(ctx context.Context) error {
	before, err := u.mainPID(ctx)
	if err != nil {
		return err
	}
	_ = u.conn.ResetFailedUnitContext(ctx, u.Name) // as in run
	if err := u.conn.KillUnitWithTarget(ctx, u.Name, dbus.Main, int32(syscall.SIGKILL)); err != nil {
		return u.refused("kill", err)
	}
	return u.await(ctx, "kill", func() (bool, error) {
		state, err := u.state(ctx)
		if err != nil || state == "failed" || state == "inactive" {
			return false, errors.Join(err, fmt.Errorf("kill %s: it is %s now, and systemd does not restart it: set Restart=on-failure in the unit", u.Name, state))
		}
		now, err := u.mainPID(ctx)
		return state == "active" && now != 0 && now != before, err
	})
}

func (u *Unit) mainPID(ctx context.Context) (uint32, error) {
	return property[uint32](ctx, u, u.Name, "Service", "MainPID")
}

// pollInterval is the time between two requests to systemd for states about which it sends no signal.
const pollInterval = 10 * time.Millisecond

// await calls so repeatedly, until so returns true or an error, or ctx is done.
func (u *Unit) await(ctx context.Context, what string, so func() (bool, error)) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		done, err := so()
		if err != nil || done {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%s %s: %w", what, u.Name, context.Cause(ctx))
		}
	}
}

// Restore starts the unit if it is not active, and waits until it is active, so that the unit is in the same state as at
// Open after any interrupt. If a socket unit starts the unit for clients, Restore leaves this to the socket unit.
func (u *Unit) Restore(ctx context.Context) error {
	state, err := u.state(ctx)
	switch {
	case err != nil || u.triggered || state == "active":
		return err
	case state == "reloading":
		return u.await(ctx, "reload", func() (bool, error) {
			state, err := u.state(ctx)
			return state == "active", err
		})
	}
	return u.run(ctx, "start", u.conn.StartUnitContext)
}

// SurvivesSoftReboot returns nil if this process survives a soft reboot. Otherwise the error says how to start one that does
// (systemd-soft-reboot.service(8)).
func (u *Unit) SurvivesSoftReboot(ctx context.Context) error {
	version, err := u.conn.GetManagerProperty("Version")
	if err != nil {
		return fmt.Errorf("ask systemd for its version: %w", err)
	}
	number := 0
	if _, err := fmt.Sscanf(strings.Trim(version, `"`), "%d", &number); err == nil && number < survivorsSince {
		return fmt.Errorf("--soft-reboot needs systemd %d or later, and this is %d", survivorsSince, number)
	}
	own, err := u.conn.GetUnitNameByPID(ctx, uint32(os.Getpid()))
	if err == nil {
		if survives, _ := property[bool](ctx, u, own, "Unit", "SurviveFinalKillSignal"); survives {
			return nil
		}
	}
	return fmt.Errorf("a soft reboot ends every process, this one too; run it as a unit that stays, and read the report in the file:\n"+
		"  systemd-run -p SurviveFinalKillSignal=yes -p IgnoreOnIsolate=yes \\\n"+
		"    -p DefaultDependencies=no -p StandardOutput=file:/run/drill.txt \\\n"+
		"    greetprobe drill --yes --soft-reboot --unit %s --rate N TARGET", u.Name)
}

// survivorsSince is the first version of systemd with SurviveFinalKillSignal=.
const survivorsSince = 255

// SoftReboot replaces the whole of user space, and returns when the unit was started again and is active.
func (u *Unit) SoftReboot(ctx context.Context) error {
	before, err := u.invocation(ctx)
	if err != nil {
		return err
	}
	if err := Command(ctx, "systemctl soft-reboot"); err != nil {
		return err
	}
	u.conn.Close()
	return u.await(ctx, "soft reboot", func() (bool, error) {
		conn, err := dbus.NewSystemdConnectionContext(context.WithoutCancel(ctx))
		if err != nil {
			return false, nil //nolint:nilerr // systemd is not back yet
		}
		u.conn = conn
		now, err := u.invocation(ctx) // if it is the same as before, systemd has not stopped the unit yet
		if state, failed := u.state(ctx); err == nil && failed == nil && state == "active" && now != before {
			return true, nil
		}
		conn.Close()
		return false, nil
	})
}

// invocation returns the ID of the current invocation of the unit. Each start has another ID.
func (u *Unit) invocation(ctx context.Context) (string, error) {
	id, err := property[[]byte](ctx, u, u.Name, "Unit", "InvocationID")
	return string(id), err
}
