// Package service is a server for protocols in which only the server speaks: it accepts
// connections, writes one greeting to each, waits for the client to hang up, and reports the
// outcome of each visit. Use it for banners, "what is my address", quote of the day, or a
// maintenance notice on a port.
//
//	srv := service.Server{Greeter: service.Static("welcome\n")}
//	ln, err := net.Listen("tcp", ":10000")
//	...
//	err = srv.Serve(service.Listener{Listener: service.Direct(ln), Name: "greet"})
//
// The zero [Server] works, and sends each client its address. As in net/http, one server serves any
// number of listeners, each with its own call of [Server.Serve]. [Server.Shutdown] waits for visits
// in progress, and [Server.Close] ends them.
//
// # Life of a connection
//
// A connection goes through these stages, in a goroutine. The deadlines are absolute: a slow
// client does not extend them.
//
//  1. Unwrap of its [Listener] reads a PROXY header (HandshakeTimeout).
//  2. Admit of the Server admits or refuses the client.
//  3. The TLS handshake, if its Listener has TLS (HandshakeTimeout, together with Unwrap).
//  4. The [Greeter] makes the greeting, which is written in one call (WriteTimeout).
//  5. The connection is half-closed: the client sees the end of the greeting.
//
// Then the visit ends, in exactly one [Outcome], which is reported to the [Observer] and counted in
// [Server.Stats]. A panic in one of these functions ends only that visit. The connection lingers,
// without a goroutine, until the client hangs up or LingerTimeout expires. Without this, unread
// input would reset the connection, and the client might lose the greeting.
//
// # Limits
//
// MaxConns limits the connections of a server. If it is reached, the server closes the oldest
// lingering connection for each new one. If there are no lingering connections, new ones wait in
// the kernel's backlog. If descriptors or memory run out, the server retries after a delay of 5 ms
// at first and up to 1 s later. Use Admit to limit single clients: the function leave that it
// returns is called when the connection is closed.
//
// # Settings that change
//
// [Server.Update] replaces the [Settings], and Unwrap, TLS and MaxConns of listeners by name, in one step. Each
// visit uses either the old or the new settings, from its start to its end.
//
// # Daemons
//
// [Server.Alive] checks that the accept loops work, for a watchdog. Package
// greetd.example/pkg/systemd has the other parts of a daemon: sockets that survive restarts, reload
// and drain. This package imports only the standard library.
package service
