// Package service is the server of a protocol in which the server speaks first, and once: it
// accepts connections, writes one greeting to each, lets the client hang up first, and reports the
// outcome of each visit. Banners, "what is my address", quote of the day, and the reply of a port
// that is closed for maintenance are such protocols.
//
//	srv := service.Server{Greeter: service.Static("welcome\n")}
//	ln, err := net.Listen("tcp", ":10000")
//	...
//	err = srv.Serve(service.Listener{Listener: service.Direct(ln), Name: "greet"})
//
// The zero [Server] works, and sends each client its address. As in net/http, one server serves any
// number of listeners, each with a call of [Server.Serve] of its own, [Server.Shutdown] drains and
// [Server.Close] cuts.
//
// # Life of a connection
//
// A connection goes through these stages, in a goroutine of its own, under deadlines that do not
// move when the client is slow:
//
//  1. Unwrap of its [Listener] reads a PROXY header (HandshakeTimeout).
//  2. Admit of the Server admits or refuses the client.
//  3. TLS of its Listener makes client and server shake hands (HandshakeTimeout, together with
//     Unwrap).
//  4. The [Greeter] says what to write, and it is written (WriteTimeout), in one call.
//  5. The connection is half-closed: the client sees the end of the greeting.
//
// There the visit ends, in exactly one [Outcome], which the [Observer] and [Server.Stats] get. A
// panic in one of these functions ends that visit alone. The connection lingers without a goroutine
// until the client hangs up, or for LingerTimeout: a socket that is closed while the client has
// sent something resets the connection, and the greeting may be lost.
//
// # Limits
//
// MaxConns limits the connections of a server. Where it is reached, lingering ones give way to new
// ones, the oldest first, and when there are none, new ones wait in the kernel's backlog. When
// descriptors or memory run out, accepting pauses, for 5 ms at first and up to 1 s, and goes on.
// Limits by client are for Admit, whose leave is called when a connection is closed.
//
// # Settings that change
//
// [Server.Update] replaces [Settings], and Unwrap and TLS of listeners by name, in one step; a
// visit has the old ones or the new ones, from start to end.
//
// # Daemons
//
// [Server.Alive] proves to a watchdog that the accept loops work. Package
// greetd.example/pkg/systemd has what else a daemon needs: sockets that outlive restarts, reload,
// drain. This package imports the standard library only.
package service
