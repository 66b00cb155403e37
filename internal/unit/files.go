package unit

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/unit"
)

// searchPath has the directories of unit files. The first directory has precedence (systemd.unit(5)).
var searchPath = []string{
	"/etc/systemd/system.control", "/run/systemd/system.control", "/run/systemd/transient", "/run/systemd/generator.early",
	"/etc/systemd/system", "/run/systemd/system", "/run/systemd/generator",
	"/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system", "/run/systemd/generator.late",
}

// Files are the settings in the section [Service] of the files of a unit, in the order in which systemd applies them.
// In its sandbox, greetd can't ask systemd, but it can read these files.
type Files []*unit.UnitOption

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
		if file := filepath.Join(root, directory, name); exists(file) {
			return file
		}
	}
	return ""
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

func settingsOf(file, instance string) (settings Files) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	options, err := unit.DeserializeOptions(bytes.NewReader(text))
	if err != nil {
		return nil
	}
	specifiers := strings.NewReplacer("\\\n", " ", "%%", "%", "%i", instance) // and joins continued lines
	for _, option := range options {
		if option.Section == "Service" {
			option.Value = specifiers.Replace(option.Value)
			settings = append(settings, option)
		}
	}
	return settings
}

// All returns the values of a setting that may be set more than once. An empty value removes the values before it.
func (f Files) All(name string) (values []string) {
	for _, option := range f {
		switch {
		case option.Name != name:
		case option.Value == "":
			values = nil
		default:
			values = append(values, option.Value)
		}
	}
	return values
}

// TimeoutStop returns TimeoutStopSec=. It returns 0 if the files do not set it, or if there is no limit.
func (f Files) TimeoutStop() (limit time.Duration) {
	for _, option := range f {
		if option.Name == "TimeoutStopSec" || option.Name == "TimeoutSec" {
			limit = parseSpan(option.Value)
		}
	}
	return limit
}

// StoreMax returns FileDescriptorStoreMax=, the maximum number of listeners that systemd keeps across a restart; 0 if
// it is not set. known is false if the files can't be read.
func (f Files) StoreMax() (most int, known bool) {
	for _, option := range f {
		if option.Name == "FileDescriptorStoreMax" {
			most, _ = strconv.Atoi(option.Value)
		}
	}
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
	if preserve := f.All("FileDescriptorStorePreserve"); len(preserve) > 0 && isTrue(preserve[len(preserve)-1]) {
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
	}
)

// parseSpan parses a time span in the format of systemd.time(7). It returns 0 for infinity, and for text that is not a
// time span.
func parseSpan(text string) (sum time.Duration) {
	parts := spanPart.FindAllStringSubmatch(text, -1)
	if strings.TrimSpace(spanPart.ReplaceAllString(text, "")) != "" {
		return 0
	}
	for _, part := range parts {
		number, err := strconv.ParseFloat(part[1], 64)
		factor, known := spanUnits[part[2]]
		if err != nil || !known {
			return 0
		}
		sum += time.Duration(number * float64(factor))
	}
	return sum
}
