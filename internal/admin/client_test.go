package admin_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"greetd.example/internal/admin"
	"greetd.example/pkg/service"
	"greetd.example/pkg/systemd"
)

func TestClientAndServerUnderstandEachOther(t *testing.T) {
	status, result := sample(), admin.ReloadResult{
		OK: true, Generation: 8, Message: "applied",
		Problems: []string{}, Changed: []string{"admin.address", "greeting"}, Warnings: []string{},
	}
	level := ""
	d := whole()
	d.Status = func() admin.Status { return status }
	d.Reload = func(context.Context) admin.ReloadResult { return result }
	d.SetLevel = func(l string) error {
		if l == "loud" {
			return errors.New(`"loud" is no level: use error, warning, info or debug`)
		}
		level = l
		return nil
	}
	unix, tcp := start(t, d)
	for _, address := range []string{unix, tcp} {
		got, err := admin.Dial(address).Status(t.Context())
		if got.Health.Color != admin.Red || len(got.Health.Troubles) != 4 {
			t.Errorf("Health at %s = %+v", address, got.Health)
		}
		got.Health = admin.Health{} // it is the server's
		if err != nil || !reflect.DeepEqual(got, status) {
			t.Errorf("Status at %s = %+v, %v; want %+v", address, got, err, status)
		}
	}
	client := admin.Dial(unix)
	if got, err := client.Reload(t.Context()); err != nil || !reflect.DeepEqual(got, result) {
		t.Errorf("Reload = %+v, %v; want %+v", got, err, result)
	}
	if err := client.SetLevel(t.Context(), "debug"); err != nil || level != "debug" {
		t.Errorf("level = %q, %v; want debug", level, err)
	}
	want := "the daemon at " + unix + ` says: "loud" is no level: use error, warning, info or debug`
	if err := client.SetLevel(t.Context(), "loud"); err == nil || err.Error() != want {
		t.Errorf("SetLevel(loud):\n got %v\nwant %s", err, want)
	}

	// A bad configuration is a result, not an error.
	result.OK, result.Problems = false, []string{"greeting: unknown field .IPP"}
	if got, err := client.Reload(t.Context()); err != nil || got.OK || len(got.Problems) != 1 {
		t.Errorf("Reload of a bad configuration = %+v, %v", got, err)
	}
	want = "the daemon at " + tcp + " says: over TCP nothing can be changed: use greetd's commands, or the unix socket"
	if _, err := admin.Dial(tcp).Reload(t.Context()); err == nil || err.Error() != want {
		t.Errorf("Reload over TCP:\n got %v\nwant %s", err, want)
	}
}

func TestClientFindsNobody(t *testing.T) {
	dir := socketDir(t)
	stale, err := net.Listen("unix", filepath.Join(dir, "stale"))
	if err != nil {
		t.Fatal(err)
	}
	stale.(*net.UnixListener).SetUnlinkOnClose(false)
	stale.Close()
	port := listen(t, "127.0.0.1:0")
	port.Close()
	for _, address := range []string{
		"unix:" + filepath.Join(dir, "nothing"),
		"unix:" + filepath.Join(dir, "no-directory", "s"),
		"unix:" + filepath.Join(dir, "stale"),
		port.Addr().String(),
	} {
		_, err := admin.Dial(address).Status(t.Context())
		want := "no daemon to talk to at " + address + ": start greetd, or look at systemctl status greetd"
		if !errors.Is(err, admin.ErrNoDaemon) || err.Error() != want {
			t.Errorf("at %s:\n got %v\nwant %s", address, err, want)
		}
	}
}

// TestClientMeetsStrangers lets servers that are no greetd answer.
func TestClientMeetsStrangers(t *testing.T) {
	for _, test := range []struct{ name, answer, want string }{
		{"hangs up", "", "hung up before it answered"},
		{"hangs up in its answer", "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{", "hung up before it answered"},
		{"speaks SSH", "SSH-2.0-OpenSSH_9.2\r\n", "malformed HTTP"},
		{"speaks another JSON", "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{\"pid\": \"x\"}", "gave an answer of another version"},
		{"is a web server", "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\n\r\nno such page\n", "says: no such page"},
		{"never answers", "wait", "does not answer: it may be stopped or stuck"},
	} {
		t.Run(test.name, func(t *testing.T) {
			ln, err := net.Listen("unix", filepath.Join(socketDir(t), "s"))
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			go func() {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				defer c.Close()
				if test.answer == "wait" {
					io.Copy(io.Discard, c)
					return
				}
				c.Read(make([]byte, 4096))
				fmt.Fprint(c, test.answer)
			}()
			timeout := generous
			if test.answer == "wait" {
				timeout = 10 * time.Millisecond
			}
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			defer cancel()
			if _, err := admin.Dial("unix:" + ln.Addr().String()).Status(ctx); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestClientRefusesNonsense(t *testing.T) {
	for _, address := range []string{"", "9101", "a b:1", "%zz:1", "http://localhost:9101"} {
		if _, err := admin.Dial(address).Status(t.Context()); err == nil {
			t.Errorf("Dial(%q) found somebody", address)
		} else {
			t.Log(err)
		}
	}
}

// sample is a status with everything in it.
func sample() admin.Status {
	began := time.Date(2026, 11, 20, 9, 30, 0, 0, time.UTC)
	outcomes := func(greeted, refused, hungUp, timedOut, cut, failed uint64) admin.Outcomes {
		return admin.Outcomes{
			service.Greeted: greeted, service.Refused: refused, service.HungUp: hungUp,
			service.TimedOut: timedOut, service.Cut: cut, service.Failed: failed,
		}
	}
	return admin.Status{
		Version: "v1.4.0", Commit: "943d1b6c0ffee943d1b6c0ffee943d1b6c0ffee0", GoVersion: "go1.26.8", Hostname: "edge-3", PID: 4711,
		State: systemd.Running, Ready: true, Started: began, UptimeSeconds: 3*86400 + 4*3600 + 59,
		Configuration: admin.Configuration{
			Path: "/etc/greetd/greetd.yaml", Generation: 7, Loaded: began.Add(time.Hour),
			LastReload: &admin.Reload{At: began.Add(2 * time.Hour), Error: "timeouts.write: needs a unit, as in 5s\nlimits.connections: must not be below 0"},
		},
		Listeners: []admin.Listener{
			{
				Name: "greet", Address: "[::]:10000", Origin: systemd.SocketUnit, State: admin.Full, Active: 9800, Lingering: 200,
				Outcomes: outcomes(123456789, 17, 4321, 5, 0, 0),
				Reasons: admin.Reasons{
					service.Refused:  {service.ReasonDenied: 10, service.ReasonTLSOurs: 7},
					service.HungUp:   {service.ReasonClientLeft: 4321},
					service.TimedOut: {service.ReasonNoProxyHeader: 5},
				},
				GreetingBytes: 3086419725,
				Certificate:   &admin.Certificate{File: "/etc/ssl/greet.pem", NotBefore: began, NotAfter: began.AddDate(0, 0, 24), DaysLeft: 20, SHA256: "cafe"},
			},
			{
				Name: "local", Address: "unix:/run/greetd/greet.sock", Origin: systemd.OwnBind, State: admin.Troubled,
				Trouble: "accept4: too many open files; next try in 1s", Lingering: 3,
				Outcomes:      outcomes(12, 0, 0, 0, 1, 2),
				Reasons:       admin.Reasons{service.Cut: {service.ReasonShutdown: 1}, service.Failed: {service.ReasonGreeting: 2}},
				GreetingBytes: 300,
			},
		},
		Outcomes: outcomes(123456801, 17, 4321, 5, 1, 2),
		Reasons: admin.Reasons{
			service.Refused: {service.ReasonDenied: 10, service.ReasonTLSOurs: 7}, service.HungUp: {service.ReasonClientLeft: 4321},
			service.TimedOut: {service.ReasonNoProxyHeader: 5}, service.Cut: {service.ReasonShutdown: 1}, service.Failed: {service.ReasonGreeting: 2},
		},
		GreetingBytes: 3086420025,
		Connections:   admin.Connections{Active: 9800, Lingering: 203},
		Log:           admin.Log{Output: "journald", Level: "info", Dropped: 1, Suppressed: 99},
		Limits:        admin.Limits{Connections: 10000, Descriptors: 65536},
	}
}
