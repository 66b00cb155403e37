package daemon

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"greetd.example/internal/admin"
	"greetd.example/pkg/systemd"
)

// adminEndpoints are where operators reach the daemon. Under systemd there is always the
// socket in the runtime directory, so that `greetd reload` finds it whatever the
// configuration says; admin.address adds another.
type adminEndpoints struct {
	server  *admin.Server
	failed  func(error)
	serving sync.WaitGroup

	mu   sync.Mutex
	open map[string]net.Listener // by address
}

// ControlAddress is where a daemon with this runtime directory can be reached.
func ControlAddress(runtimeDirectory string) string {
	return "unix:" + runtimeDirectory + "/admin.sock"
}

func adminAddresses(configured string) map[string]bool {
	addresses := make(map[string]bool)
	if directory := systemd.RuntimeDirectory(); directory != "" {
		addresses[ControlAddress(directory)] = true
	}
	if configured != "" {
		addresses[configured] = true
	}
	return addresses
}

// reopen listens where the configuration wants it, and nowhere else. With an error
// everything is as it was.
func (a *adminEndpoints) reopen(configured string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	wanted := adminAddresses(configured)
	added := make(map[string]net.Listener)
	for address := range wanted {
		if a.open[address] != nil {
			continue
		}
		ln, err := admin.Listen(address)
		if err != nil {
			for _, other := range added {
				_ = other.Close()
			}
			return fmt.Errorf("admin: %w", err)
		}
		added[address] = ln
	}
	for address, ln := range a.open {
		if !wanted[address] {
			_ = ln.Close()
			delete(a.open, address)
		}
	}
	for address, ln := range added {
		a.open[address] = ln
		a.serving.Go(func() { // close waits
			if err := a.server.Serve(ln); err != nil {
				a.failed(fmt.Errorf("admin at %s: %w", address, err))
			}
		})
	}
	return nil
}

// close lets requests that are being answered end, for at most a second.
func (a *adminEndpoints) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = a.server.Shutdown(ctx)
	a.serving.Wait()
}
