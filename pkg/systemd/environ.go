package systemd

import (
	"os"
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
