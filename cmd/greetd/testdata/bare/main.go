// Bare is the least of a service in Go: it says that it is ready, through go-systemd.
package main

import (
	"os"

	"github.com/coreos/go-systemd/v22/daemon"
)

func main() {
	if told, err := daemon.SdNotify(false, daemon.SdNotifyReady); !told || err != nil {
		os.Exit(1)
	}
	select {}
}
