// Package admin shows and controls a running daemon over HTTP. It has a [Server], which listens on a
// unix socket and on TCP, and a [Client], which the sub-commands of greetd use. Operators and monitoring
// can read over both. Only the unix socket allows changes, and only to root and the user of the service.
//
//	GET  /           the status, as a page for a browser
//	GET  /status     the status as JSON: a [Status]
//	GET  /history    the last ten minutes as JSON: a [History]
//	GET  /metrics    metrics for Prometheus
//	GET  /healthz    200 while the daemon works, else 503 and the reason
//	GET  /readyz     200 while new clients are greeted, else 503 and the reason
//	POST /reload     reload the configuration and wait for the [ReloadResult], as JSON:
//	                 200 applied, 422 refused and keeping the previous configuration, 503 not tried
//	POST /log-level  the body is the level, as plain text: 200, or 400 and the reason
//
// HEAD is allowed wherever GET is. An error is one sentence of plain text. Over TCP, all methods except
// GET and HEAD are answered with 405.
//
// The unix socket is protected by its file mode, 0600. TCP is protected by the firewall and, if
// admin.web_config_file is set, by TLS and passwords.
//
// The server also refuses requests that web pages make with the browser of a visitor. A page on the
// Internet can let its name resolve to 127.0.0.1, and then read from there (DNS rebinding). So on
// loopback the Host must be an address or a name without a dot, such as localhost; the name of such a page
// has a dot. This is also required on the unix socket, since ssh can forward it to a machine with a
// browser. On other interfaces every Host is accepted: Prometheus uses names there, and a page can read no
// more there than any other client. A POST with an Origin comes from a page, and is refused everywhere.
package admin

import (
	"context"
	"net/http"
	"time"

	"greetd.example/internal/logging"
)

// A Daemon has the functions with which the [Server] shows and controls the daemon. All are needed. Many
// goroutines call them at once. They must return, since Shutdown waits for them.
type Daemon struct {
	Status   func() Status
	Reload   func(context.Context) ReloadResult // runs one reload at a time by itself; its context is done only when that of Shutdown is
	SetLevel func(level string) error           // its error is sent to the client
	Ready    func() error                       // returns the reason why new clients are not greeted
	Healthy  func() error                       // returns the reason why the daemon should be restarted
	Metrics  http.Handler                       // answers GET /metrics
	Problems func() []logging.Problem           // returns the latest problems for the page, newest first

	// Durations returns the greeted visits since the start, counted by their duration: counts[i] is the
	// number of visits that took at most bounds[i], and the last element of counts is the number of all
	// greeted visits. bounds never change.
	Durations func() (bounds []time.Duration, counts []uint64)

	Failed func(error) // reports a panic in another function, with its stack, and failures of accept
}

// A ReloadResult is the result of a reload.
type ReloadResult struct {
	OK          bool     `json:"ok"`          // the new configuration is in force
	Unavailable bool     `json:"unavailable"` // nothing was tried: the daemon is starting or draining
	Generation  uint64   `json:"generation"`  // of the configuration now in force, counted from 1
	Message     string   `json:"message"`     // one sentence for a person
	Problems    []string `json:"problems"`    // of the new configuration, each as "FILE:LINE: KEY: REASON"; empty if OK
	Changed     []string `json:"changed"`     // the keys that differ from before; empty unless OK
	Warnings    []string `json:"warnings"`    // values that are in force, but probably not intended; empty unless OK
}
