package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"greetd.example/pkg/probe"
)

// Exit codes of the default command. They are the same as those of the clients of the ancestor, the program in
// docs/from-sockets-to-systemd.md.
const (
	exitOK       = 0
	exitUsage    = 1
	exitTimeout  = 2 // can't resolve, or no complete greeting in time
	exitConnect  = 3 // refused, unreachable, connect timed out
	exitGreeting = 4 // refused by the server, hung up early, TLS failed, rejected, or not as expected
	exitLocal    = 5
	exitCanceled = 130
)

func exitFor(s probe.Status) int {
	switch s {
	case probe.OK:
		return exitOK
	case probe.InvalidTarget:
		return exitUsage
	case probe.ResolveFailed, probe.NoGreeting, probe.Partial:
		return exitTimeout
	case probe.Refused, probe.Unreachable, probe.ConnectTimeout:
		return exitConnect
	case probe.TLSFailed, probe.Closed, probe.Reset, probe.Mismatch, probe.Rejected, probe.RefusedByServer, probe.WrongProtocol:
		return exitGreeting
	case probe.Canceled:
		return exitCanceled
	default:
		return exitLocal
	}
}

// writeJSON writes v, which consists of strings and numbers, as one line.
func writeJSON(w io.Writer, v any) {
	text, _ := json.Marshal(v)
	_, _ = w.Write(append(text, '\n'))
}

// object returns the JSON object of r, with the exit code before the error.
func object(r probe.Result) []byte {
	text, _ := json.Marshal(r)    // can't fail: r consists of strings and numbers
	before := []byte(`,"error":`) // only matches the key: quotes in a string have a backslash
	return bytes.Replace(text, before, fmt.Appendf(nil, `,"exit":%d%s`, exitFor(r.Status), before), 1)
}
