package doctor

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	units "greetd.example/internal/unit"
	"greetd.example/pkg/systemd"
)

// refreshOnReload is the first version of systemd that can pass credentials again at a reload.
const refreshOnReload = 260

// A Credential is a credential that LoadCredential= of the unit sets.
type Credential struct {
	Name, Source string
}

// credentials returns the credentials of u whose source is an absolute path.
func (u *Unit) credentials() (all []Credential) {
	for _, c := range u.LoadCredential {
		if len(c) != 2 {
			continue
		}
		name, _ := c[0].(string)
		source, _ := c[1].(string)
		if filepath.IsAbs(source) {
			all = append(all, Credential{name, source})
		}
	}
	return all
}

// stale returns the credentials of u whose files have changed since systemd passed them. It omits files
// that this caller can't see. started is the time when greetd was started; the zero time if it is unknown.
func (u *Unit) stale(started time.Time) (all []Credential) {
	for _, c := range u.credentials() {
		passed := []Credential{c}
		if entries, err := os.ReadDir(c.Source); err == nil { // each file in the directory is a credential, whose name begins with that of the directory
			passed = nil
			for _, entry := range entries {
				passed = append(passed, Credential{c.Name + "_" + entry.Name(), filepath.Join(c.Source, entry.Name())})
			}
		}
		for _, one := range passed {
			if outdated(filepath.Join("/run/credentials", u.Name, one.Name), one.Source, started) {
				all = append(all, one)
			}
		}
	}
	return all
}

// outdated reports whether the file at source differs from the file at passed, which systemd has passed. If
// one of them can't be read, as in the control processes of a unit, it reports whether source has changed
// since started.
func outdated(passed, source string, started time.Time) bool {
	info, err := os.Stat(source)
	if err != nil || !info.Mode().IsRegular() { // reading a socket or a FIFO might never end
		return false
	}
	was, passedErr := os.ReadFile(passed)
	is, sourceErr := os.ReadFile(source)
	if passedErr == nil && sourceErr == nil {
		return !bytes.Equal(was, is)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && !started.IsZero() && time.Unix(stat.Ctim.Unix()).After(started)
}

// staleCredentials adds a problem for each credential whose file has changed.
func (f *Facts) staleCredentials(r *results) {
	for _, c := range f.Stale {
		r.problem(f.renewCredentials(), "credential %s is not what %s is now: the file changed after systemd passed it to greetd", c.Name, c.Source)
	}
}

// unitOfDaemon returns Facts with the unit of a daemon, from systemd. In the sandbox of this unit, as in
// ExecReload=, it reads the files of the unit instead.
func unitOfDaemon(ctx context.Context, pid int) (f Facts) {
	if m, err := connect(ctx); err == nil {
		defer m.Close()
		if name, err := m.GetUnitNameByPID(ctx, uint32(pid)); err == nil {
			f.Systemd.Version = m.version()
			f.Unit = m.unit(ctx, name)
			return f
		}
	}
	if f.Unit.Name = systemd.Unit(); f.Unit.Name == "" {
		return f
	}
	f.Systemd.Version = units.Systemd("")
	files := units.Read("", f.Unit.Name)
	for _, credential := range files.All("LoadCredential") {
		name, source, _ := strings.Cut(credential, ":")
		f.Unit.LoadCredential = append(f.Unit.LoadCredential, []any{name, source})
	}
	f.Unit.RefreshOnReload = files.All("RefreshOnReload")
	return f
}

// renewCredentials returns the remedy that makes systemd pass the credentials again.
func (f *Facts) renewCredentials() string {
	switch {
	case f.Systemd.Version < refreshOnReload:
		return f.systemctl("restart", f.Unit.Name)
	case strings.Contains(fmt.Sprint(f.Unit.RefreshOnReload), "credentials"):
		return f.systemctl("reload", f.Unit.Name)
	}
	return f.set("RefreshOnReload=credentials")
}

// StaleCredentials returns a finding for each credential of the unit of a daemon whose file has changed
// since systemd passed it. It returns none if systemd can't be asked or the files can't be seen.
func StaleCredentials(ctx context.Context, pid int, started time.Time) []Finding {
	f := unitOfDaemon(ctx, pid)
	if strings.Contains(fmt.Sprint(f.Unit.RefreshOnReload), "credentials") {
		started = time.Time{} // they were passed again since
	}
	f.Stale = f.Unit.stale(started)
	r := results{check: "certificates"}
	f.staleCredentials(&r)
	return r.findings
}
