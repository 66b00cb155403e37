// Package admin lets operators and monitoring look at a running daemon, and root
// and the service's user steer it: a [Server] that speaks HTTP over a unix socket
// and, for reading only, over TCP, and the [Client] of greetd's own sub-commands.
//
//	GET  /           how the daemon is, for people with a browser
//	GET  /status     the same as JSON: a [Status]
//	GET  /history    the last ten minutes as JSON: a [History]
//	GET  /metrics    the same for Prometheus
//	GET  /healthz    200 while the daemon works, 503 and the reason when not
//	GET  /readyz     200 while new clients are greeted, 503 and the reason when not
//	POST /reload     reload the configuration and wait for the [ReloadResult], as JSON:
//	                 200 applied, 422 bad and keeping the previous configuration, 503 not tried
//	POST /log-level  the body is the level, as plain text: 200, or 400 and the reason
//
// HEAD works where GET does. An error is one sentence of plain text.
// Over TCP nothing can be changed: all but GET and HEAD is answered with 405.
//
// Who may connect is a matter of the socket's file mode, 0600, and of the firewall:
// there are no passwords. Web pages are kept out all the same. A page on the Internet
// can have its name point at 127.0.0.1 and then read from there with its visitor's
// browser (DNS rebinding), so on loopback the Host must be an address or a name without
// a dot, like localhost, which no such page has. The same goes for the unix socket: ssh
// can forward it to where a browser is. Other interfaces take any Host: scrapers go
// there by name, and whoever reaches them may read. A POST that has an Origin comes
// from a page and is refused everywhere.
package admin

import (
	"context"
	"net/http"
	"time"

	"greetd.example/internal/logging"
)

// A Daemon is what the [Server] shows and steers, as functions that are given once.
// They are called from many goroutines at once, and must return: Shutdown waits for
// them. A path whose function is nil does not exist.
type Daemon struct {
	Status   func() Status                      // never nil
	Reload   func(context.Context) ReloadResult // serialises itself; the context ends only with that of Shutdown
	SetLevel func(level string) error           // the client gets the error
	Ready    func() error                       // why new clients are not greeted; nil means always ready
	Healthy  func() error                       // why the daemon should be restarted; nil means always healthy
	Metrics  http.Handler                       // answers GET /metrics
	Problems func() []logging.Problem           // the latest, newest first, as many as a page should show; nil means none

	// Durations counts the visits since the start by how long they took: counts[i] is
	// those of at most bounds[i], shorter ones included, and the last of counts is all.
	// bounds never change. The page and the history need it.
	Durations func() (bounds []time.Duration, counts []uint64)

	Failed func(error) // reports a panic in one of the others, with its stack; may be nil
}

// A ReloadResult is the result of a reload.
type ReloadResult struct {
	OK          bool     `json:"ok"`          // the new configuration is in force
	Unavailable bool     `json:"unavailable"` // nothing was tried: the daemon is starting or draining
	Generation  uint64   `json:"generation"`  // of the configuration now in force, counted from 1
	Message     string   `json:"message"`     // one sentence for a person
	Problems    []string `json:"problems"`    // what is wrong with the new one, each as "key: reason"; empty if OK
	Changed     []string `json:"changed"`     // the keys that differ from before; empty unless OK
	Warnings    []string `json:"warnings"`    // what is in force, and probably not as it is meant; empty unless OK
}
