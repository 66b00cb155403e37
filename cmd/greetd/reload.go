package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"greetd.example/internal/admin"
	"greetd.example/internal/logging"
)

// reloadTime bounds a reload, which may have to look up names.
const reloadTime = 10 * time.Second

// reload applies the configuration as it is now, or leaves everything as it was, and
// says which. systemd hears of it from beginning to end, whoever asked.
func (d *daemon) reload(ctx context.Context) admin.Verdict {
	d.reloading.Lock()
	defer d.reloading.Unlock()
	running, reloading := d.state.Load(), admin.Reloading
	if *running != admin.Running || !d.state.CompareAndSwap(running, &reloading) {
		return admin.Verdict{Unavailable: true, Message: fmt.Sprintf("nothing was reloaded: greetd is %s", *d.state.Load())}
	}
	_ = d.notify.Reloading()
	d.log.Event(logging.Reloading, "greetd looks at its configuration again")

	ctx, cancel := context.WithTimeoutCause(ctx, reloadTime, fmt.Errorf("the reload took longer than %v", reloadTime))
	defer cancel()
	before := d.current.Load()
	next, err := d.apply(ctx, before)
	now := time.Now()
	var verdict admin.Verdict
	if err != nil {
		d.refused.Add(1)
		unchanged := *before
		unchanged.lastReload = &admin.Reload{At: now, Error: strings.ReplaceAll(err.Error(), "\n", "; ")}
		d.current.Store(&unchanged)
		verdict = admin.Verdict{
			Generation: before.generation,
			Message:    "the new configuration is not used, the old one serves on",
			Problems:   strings.Split(err.Error(), "\n"),
		}
		d.log.Event(logging.ReloadFailed, fmt.Sprintf("%s: %v", verdict.Message, unchanged.lastReload.Error),
			logging.F("generation", before.generation), logging.F("error", unchanged.lastReload.Error))
	} else {
		d.applied.Add(1)
		next.lastReload = &admin.Reload{At: now, OK: true}
		d.current.Store(next)
		changed := append(before.Differences(next.Config), renewed(before.listeners, next.listeners)...)
		verdict = admin.Verdict{
			OK: true, Generation: next.generation, Changed: changed,
			Message: fmt.Sprintf("%s applies now: %s", nameOf(next.Loaded), orNothing(changed)),
		}
		d.log.Event(logging.Reloaded, verdict.Message, logging.F("generation", next.generation), cpus())
		d.warn(next)
	}
	if d.state.CompareAndSwap(&reloading, running) { // else draining has begun, and is not taken back
		_ = d.notify.Ready(d.status()) // after a failed reload too, or systemd waits for ever
	}
	return verdict
}

// apply builds the whole new thing first, and then swaps it in.
func (d *daemon) apply(ctx context.Context, before *current) (*current, error) {
	takeAllCPUs()
	serving := before.listeners
	defer func() { takeCPUs(serving) }()
	loaded, m, err := load(d.source)
	if err != nil {
		return nil, err
	}
	plan, err := d.posts.prepare(ctx, loaded.Config, d.posts.sockets())
	if err != nil {
		return nil, err
	}
	if err := d.admin.reopen(loaded.Admin.Address); err != nil {
		plan.abandon(ctx)
		return nil, loaded.Problem("admin.address", err)
	}
	if err := d.log.Apply(logOptions(loaded.Log)); err != nil {
		plan.abandon(ctx)
		return nil, errors.Join(loaded.Problem("log.output", err), d.admin.reopen(before.Admin.Address))
	}
	d.fit(&loaded.Config, m)
	m.admission(&d.sources)
	d.server.Update(m.rules, m.listeners...)
	plan.carryOut(m.listeners)
	serving = m.listeners
	growDescriptorTable(loaded.Limits.Connections)
	return &current{Loaded: loaded, listeners: m.listeners, generation: before.generation + 1, since: time.Now()}, nil
}

func orNothing(changed []string) string {
	if len(changed) == 0 {
		return "nothing has changed"
	}
	return strings.Join(changed, ", ") + " changed"
}
