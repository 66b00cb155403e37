package systemd

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// RuntimeDirectory is where RuntimeDirectory= of the unit points to, the first if
// there are several, or "".
func RuntimeDirectory() string {
	first, _, _ := strings.Cut(os.Getenv("RUNTIME_DIRECTORY"), ":")
	return first
}

// CredentialsDirectory is where the credentials of the unit are, or "".
func CredentialsDirectory() string {
	return os.Getenv("CREDENTIALS_DIRECTORY")
}

// Unit is the name of the unit that this process belongs to, from its control group,
// such as greetd.service; "" if there is none, or none that can be seen from here.
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
