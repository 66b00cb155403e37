// Package service greets: it accepts connections, says one greeting to each
// client, lets the client hang up first, and reports what came of the visit.
//
// The zero [Server] works. The package imports the standard library only.
package service
