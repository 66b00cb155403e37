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
