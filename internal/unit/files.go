package unit

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// searchPath has the directories of unit files. The first directory has precedence (systemd.unit(5)).
var searchPath = []string{
	"/etc/systemd/system.control", "/run/systemd/system.control", "/run/systemd/transient", "/run/systemd/generator.early",
	"/etc/systemd/system", "/run/systemd/system", "/run/systemd/generator",
	"/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system", "/run/systemd/generator.late",
}

// A Setting is one assignment in a file of systemd.
type Setting struct{ Name, Value string }

// Files are the settings in the section [Service] of the files of a unit, in the order in which systemd applies them.
// In its sandbox, greetd can't ask systemd, but it can read these files.
type Files []Setting

// Read reads the unit file of a service and its drop-ins below the directory root; "" means those of this machine. It
// omits files that it can't read.
func Read(root, service string) Files {
	names := []string{service}
	prefix, instance, isInstance := strings.Cut(strings.TrimSuffix(service, ".service"), "@")
	if isInstance {
		names = append(names, prefix+"@.service")
	}
	var files []string
	for _, name := range names {
		if file := first(root, name); file != "" {
			files = append(files, file)
			break
		}
	}
	dropIns := make(map[string]string) // by name: a drop-in in /etc overrides one with the same name in /usr/lib
	for _, name := range append(names, "service") {
		for _, directory := range searchPath {
			found, _ := filepath.Glob(filepath.Join(root, directory, name+".d", "*.conf"))
			for _, file := range found {
				if base := filepath.Base(file); dropIns[base] == "" {
					dropIns[base] = file
				}
			}
		}
	}
	for _, base := range slices.Sorted(maps.Keys(dropIns)) {
		files = append(files, dropIns[base])
	}
	var all Files
	for _, file := range files {
		all = append(all, settingsOf(file, instance)...)
	}
	return all
}

// first returns the path of the unit file with this name; "" if there is none.
func first(root, name string) string {
	for _, directory := range searchPath {
		file := filepath.Join(root, directory, name)
		if _, err := os.Stat(file); err == nil {
			return file
		}
	}
	return ""
}

func settingsOf(file, instance string) Files {
	text, _ := os.ReadFile(file)
	settings := Parse(string(text), "Service")
	specifiers := strings.NewReplacer("%%", "%", "%i", instance)
	for i := range settings {
		settings[i].Value = specifiers.Replace(settings[i].Value)
	}
	return settings
}

// Parse returns the settings of one section of files of systemd, in their order (systemd.syntax(7)).
func Parse(text, section string) (settings Files) {
	var lines strings.Builder
	for line := range strings.Lines(text) { // comments go first, since a continued line can have comments in between
		if trimmed := strings.TrimSpace(line); !strings.HasPrefix(trimmed, "#") && !strings.HasPrefix(trimmed, ";") {
			lines.WriteString(line)
		}
	}
	current := ""
	for line := range strings.Lines(strings.ReplaceAll(lines.String(), "\\\n", " ")) {
		line = strings.TrimSpace(line)
		name, value, isSetting := strings.Cut(line, "=")
		switch {
		case strings.HasPrefix(line, "["):
			current = strings.Trim(line, "[]")
		case isSetting && current == section:
			settings = append(settings, Setting{strings.TrimSpace(name), strings.TrimSpace(value)})
		}
	}
	return settings
}

// All returns the values of a setting that may be set more than once. An empty value removes the values before it.
func (f Files) All(name string) (values []string) {
	for _, setting := range f {
		switch {
		case setting.Name != name:
		case setting.Value == "":
			values = nil
		default:
			values = append(values, setting.Value)
		}
	}
	return values
}

// Last returns the last value of the settings with these names; "" if there is none.
func (f Files) Last(names ...string) (value string) {
	for _, setting := range f {
		if slices.Contains(names, setting.Name) {
			value = setting.Value
		}
	}
	return value
}

// TimeoutStop returns TimeoutStopSec=. It returns 0 if the files do not set it, or if there is no limit.
func (f Files) TimeoutStop() time.Duration {
	limit, _ := ParseSpan(f.Last("TimeoutStopSec", "TimeoutSec"))
	return limit
}

// StoreMax returns FileDescriptorStoreMax=, the maximum number of listeners that systemd keeps across a restart; 0 if
// it is not set. known is false if the files can't be read.
func (f Files) StoreMax() (most int, known bool) {
	most, _ = strconv.Atoi(f.Last("FileDescriptorStoreMax"))
	return most, len(f) > 0
}

// FiltersAddresses reports whether IPAddressDeny= is set, and IPAddressAllow= does not allow all addresses. It does not
// see the filters of slices.
func (f Files) FiltersAddresses() bool {
	allowed := strings.Fields(strings.Join(f.All("IPAddressAllow"), " "))
	everybody := slices.Contains(allowed, "any") || slices.Contains(allowed, "0.0.0.0/0") && slices.Contains(allowed, "::/0")
	return len(f.All("IPAddressDeny")) > 0 && !everybody
}

// BindAgain returns the commands that make a service bind its addresses again. A restart does not: systemd keeps the
// sockets in its fd store, and with FileDescriptorStorePreserve=yes also across a stop.
func (f Files) BindAgain(service string) string {
	clean := ""
	if isTrue(f.Last("FileDescriptorStorePreserve")) {
		clean = "systemctl clean --what=fdstore " + service + "; "
	}
	return fmt.Sprintf("systemctl stop %s; %ssystemctl start %s", service, clean, service)
}

// isTrue reports whether text is a true value (systemd.syntax(7)).
func isTrue(text string) bool {
	return slices.Contains([]string{"1", "y", "yes", "t", "true", "on"}, strings.ToLower(text))
}

// Systemd returns the version of systemd that is installed below root, from the name of its library; 0 if it is
// unknown.
func Systemd(root string) (version int) {
	for _, directory := range []string{"/usr/lib/systemd", "/usr/lib64/systemd", "/usr/lib/*/systemd", "/lib/systemd"} {
		libraries, _ := filepath.Glob(filepath.Join(root, directory, "libsystemd-shared-*.so"))
		for _, library := range libraries {
			_, _ = fmt.Sscanf(filepath.Base(library), "libsystemd-shared-%d", &version)
		}
	}
	return version
}

var (
	spanPart  = regexp.MustCompile(`([0-9.]+)\s*([a-zµμ]*)\s*`)
	spanUnits = map[string]time.Duration{
		"us": time.Microsecond, "usec": time.Microsecond, "µs": time.Microsecond, "μs": time.Microsecond,
		"ms": time.Millisecond, "msec": time.Millisecond,
		"": time.Second, "s": time.Second, "sec": time.Second, "second": time.Second, "seconds": time.Second,
		"m": time.Minute, "min": time.Minute, "minute": time.Minute, "minutes": time.Minute,
		"h": time.Hour, "hr": time.Hour, "hour": time.Hour, "hours": time.Hour,
		"d": 24 * time.Hour, "day": 24 * time.Hour, "days": 24 * time.Hour,
		"w": 7 * 24 * time.Hour, "week": 7 * 24 * time.Hour, "weeks": 7 * 24 * time.Hour,
	}
)

// ParseSpan parses a time span in the format of systemd.time(7), except months and years. known is false for infinity,
// and for text that is not a time span.
func ParseSpan(text string) (sum time.Duration, known bool) {
	parts := spanPart.FindAllStringSubmatch(text, -1)
	if strings.TrimSpace(spanPart.ReplaceAllString(text, "")) != "" {
		return 0, false
	}
	for _, part := range parts {
		number, err := strconv.ParseFloat(part[1], 64)
		factor, known := spanUnits[part[2]]
		if err != nil || !known {
			return 0, false
		}
		sum += time.Duration(number * float64(factor))
	}
	return sum, len(parts) > 0
}
