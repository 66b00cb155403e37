package daemon

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"greetd.example/internal/admin"
	"greetd.example/internal/webconfig"
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

// reopen listens where the configuration wants it, and nowhere else, and asks of clients over TCP what
// web says. With an error everything is as it was.
func (a *adminEndpoints) reopen(configured string, web *webconfig.Config) error {
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
	a.protect(web)
	for address, ln := range added {
		a.open[address] = ln
		a.serving.Go(func() { // close waits
			if err := a.server.ServeProtected(ln, needed(ln, web)); err != nil {
				a.failed(fmt.Errorf("admin at %s: %w", address, err))
			}
		})
	}
	return nil
}

// protect makes the listeners that are open ask for what web says.
func (a *adminEndpoints) protect(web *webconfig.Config) {
	for _, ln := range a.open {
		a.server.Protect(ln, needed(ln, web))
	}
}

// needed is what the clients of ln need: on a unix socket, nothing but its permissions.
func needed(ln net.Listener, web *webconfig.Config) *webconfig.Config {
	if ln.Addr().Network() == "unix" {
		return nil
	}
	return web
}

// close lets requests that are being answered end, for at most a second.
func (a *adminEndpoints) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = a.server.Shutdown(ctx)
	a.serving.Wait()
}
