package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"greetd.example/internal/admin"
	"greetd.example/internal/certificate"
	"greetd.example/internal/config"
	"greetd.example/internal/limits"
	"greetd.example/internal/logging"
	"greetd.example/internal/settings"
	"greetd.example/pkg/service"
	"greetd.example/pkg/systemd"
)

// reloadTimeout is the maximum time for a reload, which may have to look up names.
const reloadTimeout = 10 * time.Second

// reload reads the configuration again and applies it, or leaves everything unchanged, and returns the
// result. It notifies systemd of the beginning and of the end of the reload, also if the request did not
// come from systemd.
func (d *daemon) reload(ctx context.Context) (result admin.ReloadResult) {
	err := d.systemd.ReloadWith(ctx, func(ctx context.Context) error {
		result = d.reloadNow(ctx)
		return nil
	})
	if err != nil {
		return admin.ReloadResult{Unavailable: true, Message: err.Error()}
	}
	return result
}

// reloadNow reloads the configuration. Call it only while the state of the service is reloading.
func (d *daemon) reloadNow(ctx context.Context) admin.ReloadResult {
	d.log.Event(logging.Reloading, "reloading configuration")

	ctx, cancel := context.WithTimeoutCause(ctx, reloadTimeout, fmt.Errorf("the reload took longer than %v", reloadTimeout))
	defer cancel()
	before := d.inForce()
	next, err := d.apply(ctx, before)
	if err != nil {
		return d.reloadFailed(before, err)
	}
	return d.reloaded(before, next)
}

// reloadFailed stores and logs the failure of a reload, and returns its result. The configuration before
// stays in force.
func (d *daemon) reloadFailed(before current, err error) admin.ReloadResult {
	d.failedReloads.Add(1)
	message, reason := "reload failed, keeping the previous configuration", strings.ReplaceAll(err.Error(), "\n", "; ")
	before.lastReload = &admin.Reload{At: time.Now(), Error: reason}
	d.current.Store(&before)
	d.log.Event(logging.ReloadFailed, fmt.Sprintf("%s: %v", message, reason),
		logging.F("generation", before.generation), logging.F("error", reason))
	return admin.ReloadResult{Generation: before.generation, Message: message, Problems: strings.Split(err.Error(), "\n")}
}

// reloaded puts next in force, logs the changes, and returns the result of the reload.
func (d *daemon) reloaded(before, next current) admin.ReloadResult {
	d.reloads.Add(1)
	next.lastReload = &admin.Reload{At: time.Now(), OK: true}
	d.current.Store(&next)
	changed := append(before.Differences(next.Config), renewed(before.settings.Certificates, next.settings.Certificates)...)
	if before.Admin == next.Admin && !before.settings.Web.Equal(next.settings.Web) {
		changed = append(changed, "what admin.web_config_file says")
	}
	message := fmt.Sprintf("configuration reloaded from %s: %s changed", next.Name(), cmp.Or(strings.Join(changed, ", "), "nothing")) + removed(before.DropIns, next.DropIns)
	d.log.Event(logging.Reloaded, message, logging.F("generation", next.generation), cpus())
	doubts := d.warn(next)
	select {
	case d.newCertificates <- struct{}{}:
	default: // an earlier change has not been received yet; one is enough
	}
	return admin.ReloadResult{OK: true, Generation: next.generation, Changed: changed, Message: message, Warnings: doubts}
}

// apply first builds the whole new configuration, and then applies it to the log, the server and the
// listeners. If it returns an error, the configuration before stays in force.
func (d *daemon) apply(ctx context.Context, before current) (current, error) {
	limits.UseAllCPUs()
	serving := before.settings
	defer func() { limits.UseCPUs(serving.TLS()) }()
	if err := before.Vanished(); err != nil {
		return current{}, err
	}
	loaded, next, err := settings.Load(d.source)
	if err != nil {
		return current{}, err
	}
	change, err := d.systemd.Prepare(ctx, listenConfigs(loaded.Config, next.Listeners))
	if err != nil {
		return current{}, err
	}
	if err := d.admin.reopen(loaded.Admin.Address, next.Web); err != nil {
		change.Rollback(ctx)
		return current{}, loaded.Problem("admin.address", err)
	}
	if err := d.log.Apply(logOptions(loaded.Log)); err != nil {
		change.Rollback(ctx)
		return current{}, errors.Join(loaded.Problem("log.output", err), d.admin.reopen(before.Admin.Address, serving.Web))
	}
	d.capByMemory(&loaded.Config, next)
	next.Admission(&d.sources)
	d.server.Update(*next.Service, next.Listeners...)
	d.listeners.Commit(change, next.Listeners)
	serving = next
	limits.GrowDescriptorTable(loaded.Limits.Connections)
	return current{Loaded: loaded, settings: next, generation: before.generation + 1, since: time.Now()}, nil
}

// listenConfigs returns the settings of the sockets of the configuration.
func listenConfigs(c config.Config, served []service.Listener) []systemd.ListenConfig {
	var wanted []systemd.ListenConfig
	for i, l := range c.Listeners {
		wanted = append(wanted, systemd.ListenConfig{
			Name: l.Name, Address: l.Address, ReusePort: l.ReusePort, Mode: fs.FileMode(l.Mode), Group: l.Group,
			DeferAccept: served[i].Deferred,
		})
	}
	return wanted
}

// renewed returns a text for each certificate whose content has changed since the last reload, although the
// configuration is the same. A certificate of a new listener is not included.
func renewed(before, after []*certificate.Pair) (changed []string) {
	for _, old := range before {
		for _, p := range after {
			if p.Listener == old.Listener && !p.Served().Equal(old.Loaded()) {
				changed = append(changed, "certificate of listener "+p.Listener)
			}
		}
	}
	return changed
}

// removed returns a text with the drop-ins that were removed since the last reload. Removing its file is
// how an operator reverts a drop-in.
func removed(before, after []string) string {
	gone := slices.DeleteFunc(slices.Clone(before), func(path string) bool { return slices.Contains(after, path) })
	if len(gone) == 0 {
		return ""
	}
	return "; removed since: " + strings.Join(gone, ", ")
}
