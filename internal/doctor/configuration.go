package doctor

import (
	"fmt"
	"slices"
	"strings"
)

// configuration is about the file: good, readable for greetd, and in force?
func configuration(f *Facts) []Finding {
	c := f.Config
	name := c.Path
	if name == "" {
		name = "the defaults, without a file"
	}
	apply := f.systemctl("reload", f.Unit.Name)
	switch {
	case f.withoutUnit() != nil:
		apply = "greetd reload"
	case !f.Unit.active():
		apply = f.systemctl("start", f.Unit.Name)
	}
	check := "greetd check"
	if c.Path != "" {
		check += " --config " + c.Path
	}
	var found []Finding
	switch {
	case c.Forbidden:
		found = append(found, unknown(f.asRoot(), "this user may not read %s", name))
	case len(c.Problems) > 0:
		more := ""
		if n := len(c.Problems) - 1; n > 0 {
			more = fmt.Sprintf(" (and %d more)", n)
		}
		found = append(found, problem(check+" tells all; then "+apply, "%s%s", c.Problems[0], more))
	case f.Daemon != nil && f.Daemon.Refused != "":
		found = append(found, problem(check+"; then "+apply, "the last reload was refused: %s", firstLine(f.Daemon.Refused)))
	case f.Daemon != nil && c.File != nil && c.File.Changed.After(f.Daemon.Loaded):
		found = append(found, warning(apply, "%s has changed since greetd loaded it", name))
	}
	if c.File != nil && !f.mayRead(*c.File) {
		found = append(found, problem("chmod a+r "+c.Path, "the user of %s may not read %s: its next reload or start fails", f.Unit.Name, c.Path))
	}
	if f.Daemon == nil {
		return orOK(found, "%s", name)
	}
	return orOK(found, "%s, generation %d", name, f.Daemon.Generation)
}

func firstLine(text string) string {
	first, rest, _ := strings.Cut(strings.TrimSpace(text), "\n")
	if rest != "" {
		first += " …"
	}
	return first
}

// mayRead reports whether greetd may read the file, as far as permission bits tell.
func (f *Facts) mayRead(file File) bool {
	p := f.Process
	switch {
	case file.Mode&0o004 != 0:
		return true
	case p == nil:
		return !f.Unit.is("DynamicUser") // who is not anybody yet is "other"
	case p.UID == 0 || p.UID == file.UID && file.Mode&0o400 != 0:
		return true
	}
	return file.Mode&0o040 != 0 && slices.Contains(p.GIDs, file.GID)
}
