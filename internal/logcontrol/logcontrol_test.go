package logcontrol_test

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/godbus/dbus/v5/introspect"

	"greetd.example/internal/logcontrol"
	"greetd.example/internal/test/debian"
)

const (
	name       = "example.greetd"
	controlled = "org.freedesktop.LogControl1"
	properties = "org.freedesktop.DBus.Properties"
	waitLimit  = 30 * time.Second
)

// fakeLog is a log with a level.
type fakeLog struct {
	mu     sync.Mutex
	level  string
	output string
}

func (l *fakeLog) Level() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.level
}

func (l *fakeLog) SetLevel(level string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.level = level
	return nil
}

func (l *fakeLog) Output() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.output
}

// A bus is a dbus-daemon of the test's own, which lets everybody do everything.
type bus struct {
	*exec.Cmd
	socket string
}

func startBus(t *testing.T) *bus {
	t.Helper()
	program := debian.Program(t, "dbus-daemon", "dbus-daemon")
	directory := t.TempDir()
	b := &bus{socket: filepath.Join(directory, "socket")}
	config := filepath.Join(directory, "bus.conf")
	if err := os.WriteFile(config, []byte(`<busconfig><type>system</type><listen>unix:path=`+b.socket+`</listen>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/></policy></busconfig>`), 0o600); err != nil {
		t.Fatal(err)
	}
	b.Cmd = exec.Command(program, "--config-file="+config, "--nofork", "--nopidfile", "--nosyslog", "--print-address")
	b.run(t)
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+b.socket)
	t.Cleanup(b.stop)
	return b
}

// run returns when the bus listens.
func (b *bus) run(t *testing.T) {
	t.Helper()
	out, err := b.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Start(); err != nil {
		t.Fatal(err)
	}
	if !bufio.NewScanner(out).Scan() {
		t.Fatal("dbus-daemon does not start")
	}
}

func (b *bus) stop() {
	_ = b.Process.Kill()
	_ = b.Wait()
}

// client is a connection of somebody else's.
func client(t *testing.T) *dbus.Conn {
	t.Helper()
	c, err := dbus.ConnectSystemBus()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// serve serves until the test ends, and hands out what troubles it.
func serve(t *testing.T, log logcontrol.Log) <-chan error {
	t.Helper()
	troubles := make(chan error, 10)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		logcontrol.Serve(ctx, name, log, func(err error) { troubles <- err })
	}()
	t.Cleanup(func() {
		stop()
		<-ended
	})
	return troubles
}

// property reads one property, and waits until there is somebody who has it.
func property(t *testing.T, c *dbus.Conn, of string) any {
	t.Helper()
	for end := time.Now().Add(waitLimit); ; time.Sleep(10 * time.Millisecond) { // another process has to move
		value, err := c.Object(name, "/org/freedesktop/LogControl1").GetProperty(controlled + "." + of)
		if err == nil {
			return value.Value()
		}
		if time.Now().After(end) {
			t.Fatalf("property %s: %v", of, err)
		}
	}
}

func TestLevels(t *testing.T) {
	startBus(t)
	log := &fakeLog{level: "info"}
	serve(t, log)
	c := client(t)
	for of, want := range map[string]any{"LogLevel": "info", "SyslogIdentifier": "greetd"} {
		if got := property(t, c, of); got != want {
			t.Errorf("%s = %v, want %v", of, got, want)
		}
	}
	for output, want := range map[string]any{"journald": "journal", "syslog": "syslog", "stdout": "console", "stderr": "console"} {
		log.mu.Lock()
		log.output = output
		log.mu.Unlock()
		if got := property(t, c, "LogTarget"); got != want {
			t.Errorf("LogTarget = %v with %s, want %v", got, output, want)
		}
	}
	object := c.Object(name, "/org/freedesktop/LogControl1")
	for _, test := range []struct{ set, logs, says string }{
		{"emerg", "fatal", "crit"},
		{"alert", "fatal", "crit"},
		{"crit", "fatal", "crit"},
		{"err", "error", "err"},
		{"warning", "warning", "warning"},
		{"notice", "info", "info"},
		{"debug", "debug", "debug"},
		{"info", "info", "info"},
	} {
		if err := object.SetProperty(controlled+".LogLevel", dbus.MakeVariant(test.set)); err != nil {
			t.Errorf("set %s: %v", test.set, err)
		}
		if got := log.Level(); got != test.logs {
			t.Errorf("set %s: the log has %s, want %s", test.set, got, test.logs)
		}
		if got := property(t, c, "LogLevel"); got != test.says {
			t.Errorf("set %s: LogLevel = %v, want %s", test.set, got, test.says)
		}
	}
	_ = log.SetLevel("warning") // by somebody else
	if got := property(t, c, "LogLevel"); got != "warning" {
		t.Errorf("LogLevel = %v after a change elsewhere", got)
	}
}

func TestRefusals(t *testing.T) {
	startBus(t)
	log := &fakeLog{level: "info"}
	serve(t, log)
	c := client(t)
	property(t, c, "LogLevel")
	object := c.Object(name, "/org/freedesktop/LogControl1")
	for _, test := range []struct {
		method string
		args   []any
		want   string
	}{
		{"Set", []any{controlled, "LogLevel", dbus.MakeVariant("loud")}, "InvalidArgs"},
		{"Set", []any{controlled, "LogLevel", dbus.MakeVariant(7)}, "InvalidArgs"},
		{"Set", []any{controlled, "LogTarget", dbus.MakeVariant("kmsg")}, "PropertyReadOnly"},
		{"Set", []any{controlled, "Colour", dbus.MakeVariant("red")}, "UnknownProperty"},
		{"Get", []any{controlled, "Colour"}, "UnknownProperty"},
		{"Get", []any{"org.example.Other", "LogLevel"}, "UnknownInterface"},
		{"GetAll", []any{"org.example.Other"}, "UnknownInterface"},
		{"Get", []any{controlled}, "InvalidArgs"},
		{"Burn", nil, "UnknownMethod"},
	} {
		var refused dbus.Error
		err := object.Call(properties+"."+test.method, 0, test.args...).Err
		if !errors.As(err, &refused) || refused.Name != "org.freedesktop.DBus.Error."+test.want {
			t.Errorf("%s %v: %v, want %s", test.method, test.args, err, test.want)
		}
	}
	if got := log.Level(); got != "info" {
		t.Errorf("in the end the level is %s", got)
	}
	var text string
	if err := object.Call("org.freedesktop.DBus.Introspectable.Introspect", 0).Store(&text); err != nil || !strings.Contains(text, `<property name="LogLevel" type="s" access="readwrite">`) {
		t.Errorf("introspection: %v\n%s", err, text)
	}
}

func TestBusThatComesAndGoes(t *testing.T) {
	b := startBus(t)
	b.stop()
	_ = os.Remove(b.socket)
	troubles := serve(t, &fakeLog{level: "info"})
	if err := <-troubles; !strings.Contains(err.Error(), "connect to the system bus") {
		t.Errorf("without a bus: %v", err)
	}
	for range 2 {
		b.Cmd = exec.Command(b.Path, b.Args[1:]...)
		b.run(t)
		property(t, client(t), "LogLevel")
		b.stop()
		_ = os.Remove(b.socket)
		if err := <-troubles; !strings.Contains(err.Error(), "is lost") {
			t.Errorf("the bus went: %v", err)
		}
	}
	if len(troubles) > 0 {
		t.Errorf("it goes on complaining: %v", <-troubles)
	}
}

func TestNameThatAnotherHas(t *testing.T) {
	startBus(t)
	c := client(t)
	if _, err := c.RequestName(name, 0); err != nil {
		t.Fatal(err)
	}
	troubles := serve(t, &fakeLog{level: "info"})
	if err := <-troubles; !strings.Contains(err.Error(), "another process has it") {
		t.Errorf("trouble = %v", err)
	}
	if _, err := c.ReleaseName(name); err != nil {
		t.Fatal(err)
	}
	if got := property(t, c, "LogLevel"); got != "info" {
		t.Errorf("LogLevel = %v", got)
	}
}

// TestIntrospection holds what is said to be there against what is there.
func TestIntrospection(t *testing.T) {
	startBus(t)
	serve(t, &fakeLog{level: "info"})
	c := client(t)
	property(t, c, "LogLevel")
	object := c.Object(name, "/org/freedesktop/LogControl1")
	node, err := introspect.Call(object)
	if err != nil {
		t.Fatal(err)
	}
	methods, values := 0, 0
	for _, iface := range node.Interfaces {
		for _, method := range iface.Methods {
			methods++
			var args []any
			for _, arg := range method.Args {
				switch {
				case arg.Direction == "in" && arg.Type == "v":
					args = append(args, dbus.MakeVariant("debug"))
				case arg.Direction == "in":
					args = append(args, map[string]string{"interface": controlled, "property": "LogLevel"}[arg.Name])
				}
			}
			reply := object.Call(iface.Name+"."+method.Name, 0, args...)
			out := dbus.SignatureOf(reply.Body...).String()
			var want strings.Builder
			for _, arg := range method.Args {
				if arg.Direction == "out" {
					want.WriteString(arg.Type)
				}
			}
			if reply.Err != nil || out != want.String() {
				t.Errorf("%s.%s%v returns %q, %v; want %q", iface.Name, method.Name, args, out, reply.Err, &want)
			}
		}
		for _, value := range iface.Properties {
			values++
			if got := dbus.SignatureOf(property(t, c, value.Name)).String(); iface.Name != controlled || got != value.Type {
				t.Errorf("%s.%s is of type %s, want %s", iface.Name, value.Name, got, value.Type)
			}
		}
	}
	if methods != 6 || values != 3 {
		t.Errorf("%d methods and %d properties, want 6 and 3", methods, values)
	}
}
