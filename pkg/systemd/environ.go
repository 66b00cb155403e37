package systemd

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// RuntimeDirectory returns the path of RuntimeDirectory= of the unit, or "". If there are several
// directories, it returns the first one.
func RuntimeDirectory() string {
	first, _, _ := strings.Cut(os.Getenv("RUNTIME_DIRECTORY"), ":")
	return first
}

// CredentialsDirectory returns the directory with the credentials of the unit, or "".
func CredentialsDirectory() string {
	return os.Getenv("CREDENTIALS_DIRECTORY")
}

// Unit returns the name of the unit that this process belongs to, such as greetd.service. It reads
// it from the control group. It returns "" if there is no unit, or if the control group is not
// visible.
func Unit() string {
	groups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return ""
	}
	_, path, _ := strings.Cut(string(groups), "0::")
	path, _, _ = strings.Cut(path, "\n")
	parts := strings.Split(path, "/")
	for _, part := range slices.Backward(parts) { // below the unit there may be groups of its own
		switch filepath.Ext(part) {
		case ".service":
			return part
		case ".scope", ".slice":
			return ""
		}
	}
	return ""
}

// socketUnit names the socket unit of this service, for a remedy.
func socketUnit() string {
	if service, ok := strings.CutSuffix(Unit(), ".service"); ok {
		return service + ".socket"
	}
	return "a socket unit"
}

// HiddenBy returns the setting of the unit whose sandbox hides path from this process, such as
// "PrivateTmp=". Other processes may see a file there. HiddenBy returns "" if no setting hides
// path, or if it cannot find out.
func HiddenBy(path string) string {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return ""
	}
	return hiddenBy(string(mounts), path)
}

// hiddenBy looks for the mount that path is on (proc_pid_mountinfo(5)).
func hiddenBy(mounts, path string) string {
	var root, point string
	for line := range strings.Lines(mounts) {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		at := strings.ReplaceAll(fields[4], `\040`, " ")
		if below(path, at) && len(at) >= len(point) { // the last one at a place is on top
			root, point = fields[3], at
		}
	}
	switch {
	case strings.Contains(root, "/systemd-private-"):
		return "PrivateTmp="
	case !strings.Contains(root, "/inaccessible/"):
		return ""
	case point == "/home", point == "/root", point == "/run/user":
		return "ProtectHome="
	default:
		return "InaccessiblePaths="
	}
}

func below(path, directory string) bool {
	rest, ok := strings.CutPrefix(filepath.Clean(path), directory)
	return ok && (rest == "" || rest[0] == '/' || strings.HasSuffix(directory, "/"))
}
