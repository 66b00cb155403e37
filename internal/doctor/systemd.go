package doctor

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	"github.com/go-viper/mapstructure/v2"

	"greetd.example/internal/admin"
	units "greetd.example/internal/unit"
)

// A manager is a connection to systemd over D-Bus.
type manager struct{ *dbus.Conn }

// connect connects to systemd: over the system bus, or, as root, directly.
func connect(ctx context.Context) (*manager, error) {
	connection, err := dbus.NewWithContext(ctx)
	return &manager{connection}, err
}

// unit returns the properties of a unit. systemd loads the unit if it is not loaded yet. If systemd does not
// answer, the result has only the name.
func (m manager) unit(ctx context.Context, name string) Unit {
	properties, err := m.GetAllPropertiesContext(ctx, name)
	if err != nil {
		return Unit{Name: name}
	}
	u, _ := decode(name, properties) // a property with an unexpected type remains zero
	return u
}

func decode(name string, properties map[string]any) (Unit, error) {
	u := Unit{Name: name}
	err := mapstructure.WeakDecode(properties, &u)
	return u, err
}

// addSlices adds the address filters of the slices of u to those of u. systemd applies all of them together: an
// address that one of them allows is not denied.
func (m manager) addSlices(ctx context.Context, u *Unit) {
	for name := u.Slice; name != ""; {
		slice := m.unit(ctx, name)
		u.IPAddressAllow = append(u.IPAddressAllow, slice.IPAddressAllow...)
		u.IPAddressDeny = append(u.IPAddressDeny, slice.IPAddressDeny...)
		name = slice.Slice
	}
}

// version returns the version of systemd as a number; 0 if it is unknown.
func (m manager) version() (number int) {
	text, _ := m.GetManagerProperty("Version")
	_, _ = fmt.Sscanf(text, `"%d`, &number)
	return number
}

// sockets returns the socket units of a service: those that trigger it, and the one with the same name.
func (m manager) sockets(ctx context.Context, service Unit) []Unit {
	names := []string{strings.TrimSuffix(service.Name, ".service") + ".socket"}
	for _, name := range service.TriggeredBy {
		if strings.HasSuffix(name, ".socket") && name != names[0] {
			names = append(names, name)
		}
	}
	var sockets []Unit
	for _, name := range names {
		if s := m.unit(ctx, name); s.loaded() {
			sockets = append(sockets, s)
		}
	}
	return sockets
}

// unitOf returns the unit for which process 1 has a socket: a socket unit that listens on its address, or the
// service that has it in the fd store; "" if it finds none. Before version 254, systemd does not report the
// sockets in the fd store; then unitOf returns a unit greetd* that has any, which is a guess.
func (m manager) unitOf(ctx context.Context, s diagSocket) string {
	all, err := m.ListUnitsByPatternsContext(ctx, nil, []string{"*.socket", "*.service"})
	if err != nil {
		return ""
	}
	stored := ""
	for _, status := range all {
		u := m.unit(ctx, status.Name)
		if u.active() && slices.ContainsFunc(u.streams(), func(stream string) bool { return overlap(stream, s.Address) }) {
			return u.Name
		}
		if u.NFileDescriptorStore == 0 {
			continue
		}
		inodes, known := storedInodes(ctx, u.Name)
		switch {
		case slices.Contains(inodes, s.inode):
			return u.Name
		case !known && strings.HasPrefix(u.Name, "greetd"):
			stored = u.Name
		}
	}
	return stored
}

// storedInodes returns the inodes of the files in the fd store of a service. known is false if systemd does not
// report them, as before version 254.
func storedInodes(ctx context.Context, service string) (inodes []uint32, known bool) {
	text, err := run(ctx, "systemd-analyze", "fdstore", "--json=short", service)
	var stored []struct{ Inode uint32 }
	if err != nil || json.Unmarshal([]byte(text), &stored) != nil {
		return nil, false
	}
	for _, s := range stored {
		inodes = append(inodes, s.Inode)
	}
	return inodes, true
}

// askSystemd connects to systemd, finds the unit of the process, and asks systemd and its tools about this unit.
// It returns the connection, which the caller must close, or nil if there is none.
func (f *Facts) askSystemd(ctx context.Context, p Place) *manager {
	m, err := connect(ctx)
	if err != nil {
		f.Systemd.Trouble = err.Error()
		f.unseen("systemd's view of the units (%v)", err)
		return nil
	}
	if f.Systemd.Version = m.version(); f.Systemd.Version == 0 {
		f.Systemd.Trouble = "it does not report its version"
	}
	units := *m
	if f.Process != nil {
		f.Process.Unit, _ = m.GetUnitNameByPID(ctx, uint32(f.Process.PID))
		if f.Process.Unit == fmt.Sprintf("user@%d.service", os.Geteuid()) {
			if user, err := dbus.NewUserConnectionContext(ctx); err == nil {
				defer user.Close()
				units, f.Systemd.User = manager{user}, true
				f.Process.Unit, _ = user.GetUnitNameByPID(ctx, uint32(f.Process.PID))
			}
		}
		if strings.HasSuffix(f.Process.Unit, ".service") {
			f.Unit.Name = f.Process.Unit
		}
	}
	f.Unit = units.unit(ctx, f.Unit.Name)
	if f.Unit.Name != p.Unit && f.outside() { // the process was started from a shell, which can be in the service of sshd
		f.Systemd.User = false
		f.Unit = m.unit(ctx, p.Unit)
	}
	f.awaitStart(ctx, p, units)
	f.Sockets = units.sockets(ctx, f.Unit)
	for i := range f.Sockets {
		units.addSlices(ctx, &f.Sockets[i])
	}
	units.addSlices(ctx, &f.Unit)
	display := m.unit(ctx, "display-manager.service")
	f.Namesake.Display = display.loaded() && slices.Contains(display.Names, f.Unit.Name)
	f.analyze(ctx)
	return m
}

// awaitStart waits until a daemon that has just been started listens, or has failed. With a wrong Type=, systemd
// reports the unit as active before that. If the unit is restarted again and again, awaitStart keeps its last
// status text: systemd clears it at each start, so with a short RestartSec= it can be seen only for some
// milliseconds.
func (f *Facts) awaitStart(ctx context.Context, p Place, units manager) {
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	status := f.Unit.StatusText
	for range 300 {
		waits := f.Unit.active() || f.Unit.starting() && (status == "" || !strings.HasPrefix(f.Unit.SubState, "auto-restart"))
		if f.Daemon != nil || f.Process != nil || !errors.Is(f.Silence, admin.ErrNoDaemon) || !waits {
			break
		}
		select {
		case <-again.C:
			f.Daemon, f.Address, f.Silence = p.Ask(ctx)
			f.Unit = units.unit(ctx, f.Unit.Name)
			status = cmp.Or(f.Unit.StatusText, status)
		case <-ctx.Done():
			return
		}
	}
	if !f.Unit.active() {
		f.Unit.StatusText = cmp.Or(f.Unit.StatusText, status)
	}
	if f.Process == nil && f.Daemon != nil {
		f.Process = look(f.Daemon.PID)
	}
	if f.Process == nil && f.Unit.active() && f.Unit.MainPID > 0 {
		if main := look(f.Unit.MainPID); main != nil && main.isGreetd(&f.Unit) {
			f.Process = main
		}
	}
	if f.Process != nil && f.Process.PID == f.Unit.MainPID {
		f.Process.Unit = f.Unit.Name
	}
}

// shippedOpen are the protections that systemd-analyze security reports as missing in the shipped unit. It does
// not have them because a network service, or {{.Hostname}} in a greeting, would not work with them.
var shippedOpen = []string{
	"RootDirectoryOrRootImage", "RestrictAddressFamilies_AF_UNIX", "RestrictAddressFamilies_AF_INET_INET6",
	"PrivateNetwork", "DeviceAllow", "IPAddressDeny", "ProtectHostname",
}

// analyze asks systemd-analyze about the unit, and about journald.
func (f *Facts) analyze(ctx context.Context) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		f.unseen("what systemd-analyze says (%v)", err)
		return
	}
	tool := func(args ...string) (string, error) {
		if f.Systemd.User {
			args = append([]string{"--user"}, args...)
		}
		return run(ctx, "systemd-analyze", args...)
	}
	if text, err := run(ctx, "systemd-analyze", "cat-config", "systemd/journald.conf"); err == nil {
		f.Journald = parseRateLimit(text)
	}
	if !f.Unit.loaded() {
		return
	}
	if f.Unit.Result == "exit-code" {
		text, _ := run(ctx, "systemd-analyze", "exit-status", strconv.Itoa(f.Unit.ExecMainStatus))
		if words := strings.Fields(text); len(words) > 3 { // after NAME STATUS CLASS
			f.Systemd.ExitStatus = words[3]
		}
	}
	if _, err := tool("verify", "--man=no", "--recursive-errors=no", f.Unit.Name); err != nil {
		for line := range strings.Lines(err.Error()) {
			if strings.Contains(line, f.Unit.Name) || strings.Contains(line, filepath.Base(f.Unit.FragmentPath)) {
				f.Systemd.Verify = append(f.Systemd.Verify, strings.TrimSpace(line))
			}
		}
		if f.Systemd.Verify == nil {
			f.unseen("systemd-analyze verify (%s)", firstLine(err.Error()))
		}
	}
	text, err := tool("security", "--json=short", f.Unit.Name)
	var settings []struct {
		Set   *bool // nil: does not apply
		Name  string
		Field string `json:"json_field"`
	}
	if jsonErr := json.Unmarshal([]byte(text), &settings); jsonErr != nil {
		f.unseen("systemd-analyze security (%s)", firstLine(errors.Join(err, jsonErr).Error()))
		return
	}
	f.Systemd.Open = []string{}
	for _, s := range settings {
		if s.Set != nil && !*s.Set && !slices.Contains(shippedOpen, s.Field) {
			f.Systemd.Open = append(f.Systemd.Open, s.Name)
		}
	}
}

// parseRateLimit returns the rate limit from text, the concatenated files of journald.conf.
func parseRateLimit(text string) RateLimit {
	limit := RateLimit{Known: true, Interval: 30 * time.Second, Burst: 10000} // journald.conf(5)
	for _, setting := range units.Parse(text, "Journal") {
		switch setting.Name {
		case "RateLimitIntervalSec", "RateLimitInterval":
			if interval, known := units.ParseSpan(setting.Value); known {
				limit.Interval = interval
			}
		case "RateLimitBurst":
			if burst, err := strconv.Atoi(setting.Value); err == nil {
				limit.Burst = burst
			}
		}
	}
	return limit
}
