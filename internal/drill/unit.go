// Package drill restarts, reloads and kills a unit on purpose, while somebody else counts what
// becomes of its clients.
package drill

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
)

// A Unit is a unit of systemd, asked over D-Bus. It needs root or polkit's consent.
type Unit struct {
	Name string

	conn *dbus.Conn
}

// Open connects to systemd, and fails unless the unit is active. The caller closes it.
func Open(ctx context.Context, name string) (*Unit, error) {
	conn, err := dbus.NewWithContext(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask systemd for %s: %w", name, err)
	}
	u := &Unit{Name: name, conn: conn}
	state, err := u.state(ctx)
	if err == nil && state != "active" {
		err = fmt.Errorf("%s is %s: start it first (systemctl start %s)", name, state, name)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return u, nil
}

// Close closes the connection to systemd.
func (u *Unit) Close() { u.conn.Close() }

func (u *Unit) state(ctx context.Context) (string, error) {
	p, err := u.conn.GetUnitPropertyContext(ctx, u.Name, "ActiveState")
	if err != nil {
		return "", fmt.Errorf("ask systemd for %s: %w", u.Name, err)
	}
	state, _ := p.Value.Value().(string)
	return state, nil
}

// A job is one of the methods of [dbus.Conn] that start a job and send its result.
type job func(ctx context.Context, name, mode string, result chan<- string) (int, error)

// Dependents returns the active units that systemd stops or restarts together with the unit.
func (u *Unit) Dependents(ctx context.Context) (names []string, err error) {
	for _, property := range []string{"RequiredBy", "RequisiteOf", "BoundBy", "ConsistsOf", "PropagatesStopTo"} {
		p, err := u.conn.GetUnitPropertyContext(ctx, u.Name, property)
		if err != nil {
			continue // an older systemd
		}
		others, _ := p.Value.Value().([]string)
		for _, name := range others {
			state, err := (&Unit{Name: name, conn: u.conn}).state(ctx)
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

// run starts the job and waits until systemd says how it ended. Starts on purpose do not count
// for StartLimitBurst= of the unit.
func (u *Unit) run(ctx context.Context, what string, start job) error {
	_ = u.conn.ResetFailedUnitContext(ctx, u.Name)
	result := make(chan string, 1)
	if _, err := start(ctx, u.Name, "replace", result); err != nil {
		return fmt.Errorf("%s %s: %w", what, u.Name, err)
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

// Restart restarts the unit, and returns when systemd says that it has.
func (u *Unit) Restart(ctx context.Context) error {
	return u.run(ctx, "restart", u.conn.RestartUnitContext)
}

// Reload reloads the unit, and returns when systemd says that it has.
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

// Kill sends SIGKILL to the main process, and returns when the unit has another one that is
// active. A unit that systemd does not restart is an error.
func (u *Unit) Kill(ctx context.Context) error {
	before, err := u.mainPID(ctx)
	if err != nil {
		return err
	}
	_ = u.conn.ResetFailedUnitContext(ctx, u.Name) // as in run
	if err := u.conn.KillUnitWithTarget(ctx, u.Name, dbus.Main, int32(syscall.SIGKILL)); err != nil {
		return fmt.Errorf("kill %s: %w", u.Name, err)
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
	p, err := u.conn.GetServicePropertyContext(ctx, u.Name, "MainPID")
	if err != nil {
		return 0, fmt.Errorf("ask systemd for %s: %w", u.Name, err)
	}
	pid, _ := p.Value.Value().(uint32)
	return pid, nil
}

// pollInterval is how often systemd is asked where it sends no signal of its own.
const pollInterval = 10 * time.Millisecond

// await asks until so is true, an error comes, or ctx is done.
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

// Restore starts the unit if it is not active: whatever was interrupted, the unit is left as
// Open found it.
func (u *Unit) Restore(ctx context.Context) error {
	state, err := u.state(ctx)
	if err != nil || state == "active" || state == "activating" || state == "reloading" {
		return err
	}
	return u.run(ctx, "start", u.conn.StartUnitContext)
}

// SurvivesSoftReboot returns nil if this process outlives a soft reboot, and else how to be one
// that does (systemd-soft-reboot.service(8)).
func (u *Unit) SurvivesSoftReboot(ctx context.Context) error {
	own, err := u.conn.GetUnitNameByPID(ctx, uint32(os.Getpid()))
	if err == nil {
		if p, err := u.conn.GetUnitTypePropertyContext(ctx, own, "Service", "SurviveFinalKillSignal"); err == nil && p.Value.Value() == true {
			return nil
		}
	}
	return errors.New("a soft reboot (systemd 254 or later) ends every process, this one too: run it as " +
		"systemd-run --pipe --property=SurviveFinalKillSignal=yes --property=IgnoreOnIsolate=yes --property=DefaultDependencies=no " +
		"greetprobe drill --yes --soft-reboot and the other flags")
}

// SoftReboot replaces the whole of user space, and returns when the unit is active again.
func (u *Unit) SoftReboot(ctx context.Context) error {
	if err := Command(ctx, "systemctl soft-reboot"); err != nil {
		return err
	}
	u.conn.Close()
	return u.await(ctx, "soft reboot", func() (bool, error) {
		conn, err := dbus.NewSystemdConnectionContext(ctx)
		if err != nil {
			return false, nil //nolint:nilerr // systemd is not back yet
		}
		u.conn = conn
		if state, err := u.state(ctx); err == nil && state == "active" {
			return true, nil
		}
		conn.Close()
		return false, nil
	})
}

// Command runs a command of the shell. Its output is in the error, if it fails.
func Command(ctx context.Context, command string) error {
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", command)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", command, err, strings.TrimSpace(string(out)))
	}
	return nil
}
