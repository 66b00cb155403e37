package systemd

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Booted reports whether systemd runs this machine (sd_booted(3)).
func Booted() bool {
	info, err := os.Lstat("/run/systemd/system")
	return err == nil && info.IsDir()
}

// Started reports whether systemd started this very process. A shell in a service
// hands on $INVOCATION_ID to its children, but not the number in $SYSTEMD_EXEC_PID.
func Started() bool {
	return os.Getenv("SYSTEMD_EXEC_PID") == strconv.Itoa(os.Getpid())
}

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

// StoreSize is how many descriptors systemd keeps for this process, and whether it
// said so: systemd before 254 does not, and neither does one that keeps none.
func StoreSize() (size int, known bool) {
	size, err := strconv.Atoi(os.Getenv("FDSTORE"))
	return size, err == nil
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
