package systemd

import (
	"os"
	"path/filepath"
	"strings"
)

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
