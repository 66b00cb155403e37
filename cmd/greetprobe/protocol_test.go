package main

import (
	"io"
	"strings"
	"testing"

	"greetd.example/internal/test/testserver"
)

// A server that refuses is never well, in any command.
func TestRefusalsInEveryCommand(t *testing.T) {
	busy := testserver.Listen(t, testserver.Greet("421 busy | 0\r\n")).Addr
	never := testserver.Listen(t, testserver.Greet("554 never\r\n")).Addr
	welcome := testserver.Listen(t, testserver.Greet("welcome to port 421\r\n")).Addr
	for _, test := range []struct {
		args string
		exit int
		said string
	}{
		{busy, 4, `refused by the server for now: "421 busy | 0"`},
		{"-o json " + busy, 4, `"status":"refused_by_server","phase":"greeting","exit":4,`},
		{"-o json " + busy, 4, `"refusal":{"code":"421","words":"421 busy | 0","temporary":true}`},
		{"-o prom " + never, 4, `greetprobe_refused_by_server{target="` + never + `",protocol="",code="554",temporary="false"} 1`},
		{"-o prom " + never, 4, `greetprobe_status{target="` + never + `",status="refused_by_server"} 1`},
		{"-e busy " + busy, 4, "refused by the server"},
		{"--protocol plain " + busy, 0, "421 busy"},
		{"--protocol plain -e busy " + busy, 0, "421 busy"},
		{"--protocol smtp " + welcome, 4, `this is no smtp greeting: "welcome to port 421"`},
		{"--protocol gopher " + welcome, 1, "--protocol gopher: there are smtp, lmtp, ssh, ftp"},
		{"-z --protocol smtp " + welcome, 1, "--connect-only reads no greeting"},
		{welcome, 0, "welcome to port 421"},
		{"check " + busy, 1, `GREET WARNING - ` + busy + `: refused by the server for now: "421 busy \x7c 0"|time=`},
		{"check " + never, 2, `GREET CRITICAL - ` + never + `: refused by the server: "554 never"|time=`},
		{"check " + welcome, 0, "GREET OK"},
		{"ping -c 2 -i 10ms " + busy, 4, "2 probes sent, 0 received, 100% loss"},
		{"ping -c 2 -i 10ms " + busy, 4, "refused by the server: 2 of 2\n"},
		{"load --rate 50 -d 100ms " + busy, 4, "refused_by_server"},
	} {
		var out strings.Builder
		code := run(t.Context(), append([]string{"greetprobe"}, strings.Fields(test.args)...), strings.NewReader(""), &out, io.MultiWriter(&out))
		if code != test.exit || !strings.Contains(out.String(), test.said) {
			t.Errorf("greetprobe %s: exit %d, want %d and %q:\n%s", test.args, code, test.exit, test.said, out.String())
		}
	}
}
