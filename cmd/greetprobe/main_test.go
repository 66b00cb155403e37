package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"greetd.example/internal/test/freeport"
	"greetd.example/internal/test/testserver"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"greetprobe": main, pluginName: main})
}

// TestScripts runs greetprobe as its user does. The scripts find servers of every
// behavior in the environment (see servers). Beside testscript's own commands there are
//
//	exits CODE COMMAND...  run it, as exec does, and want that exit code
//	signal SIGNAL          to the process in the background
//	await FILE TEXT        until the file has the text
func TestScripts(t *testing.T) {
	env := servers(t)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("TMPDIR", e.WorkDir)
			for name, addr := range env {
				_, port, _ := net.SplitHostPort(addr)
				e.Setenv(name, addr)
				e.Setenv(name+"_PORT", port)
			}
			return expandFiles(e)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":  exits,
			"signal": sendSignal,
			"await":  await,
		},
	})
}

// servers starts one of each behavior, and returns their addresses by name.
func servers(t *testing.T) map[string]string {
	t.Helper()
	addr := map[string]string{"NOBODY": nobody(t)}
	for name, behavior := range map[string]testserver.Behavior{
		"GREETS": testserver.Greet("220 ready\r\n"),
		"HELLO":  testserver.GreetAndClose("Hello there\n"),
		"LINES":  testserver.Greet("220-one\r\n220 two\r\n"),
		"SILENT": testserver.Silent,
		"CLOSES": testserver.Close,
		"RESETS": testserver.Reset,
		"EVIL":   testserver.Greet("220 a|time=0s;;;0 'b'=1\x1b[2J\x00\u202e\xff\nOK - second line | c=1\n"),
		"BIG":    testserver.Big(1 << 20),
		"LATE":   testserver.GreetLate("220 at last\r\n", 700*time.Millisecond),

		"WELCOME": testserver.Greet("220-welcome\r\n220 here\r\n"),
		"HOSTILE": testserver.Greet("\x1b[2J\x00\xff\u202e\r\x7f\u009b\n"),
		"LOGIN":   testserver.Greet("login: "),
		"DRIBBLE": testserver.Repeat("x", 100*time.Millisecond),
		"ECHO":    echo,
		"CLOSING": testserver.GreetAndClose("220 bye\n"),
	} {
		addr[name] = testserver.Listen(t, behavior).Addr
	}
	addr["BLACKHOLE"] = testserver.Blackhole(t, "tcp4", "127.0.0.1:0", nil, 0)
	addr["STARTS"] = starts(t, testserver.Greet("220 up\n"))
	addr["SOCKET"] = filepath.Join(t.TempDir(), "socket")
	testserver.ListenOn(t, "unix", addr["SOCKET"], testserver.Greet("220-welcome\r\n220 here\r\n"))
	return addr
}

// echo greets, and says each line again.
func echo(c net.Conn) {
	io.WriteString(c, "220 ready\r\n")
	for lines := bufio.NewScanner(c); lines.Scan(); {
		fmt.Fprintf(c, "250 %s\r\n", lines.Text())
	}
}

// starts returns an address at which somebody listens in a second only.
func starts(t *testing.T, behavior testserver.Behavior) string {
	t.Helper()
	addr := nobody(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	var starting sync.WaitGroup
	starting.Go(func() {
		defer cancel()
		if <-ctx.Done(); t.Context().Err() == nil {
			testserver.ListenOn(t, "tcp", addr, behavior)
		}
	})
	t.Cleanup(starting.Wait)
	return addr
}

// expandFiles writes the addresses of the servers into the files of a script.
func expandFiles(e *testscript.Env) error {
	files, err := filepath.Glob(filepath.Join(e.WorkDir, "*"))
	for _, file := range files {
		if info, statErr := os.Stat(file); statErr != nil || !info.Mode().IsRegular() {
			continue
		}
		text, readErr := os.ReadFile(file)
		expanded := os.Expand(string(text), func(name string) string {
			return cmp.Or(e.Getenv(name), "$"+name)
		})
		err = errors.Join(err, readErr, os.WriteFile(file, []byte(expanded), 0o644))
	}
	return err
}

// nobody returns an address at which nobody listens.
func nobody(t *testing.T) string {
	t.Helper()
	ports, err := freeport.Find(1)
	if err != nil {
		t.Fatal(err)
	}
	return freeport.Address(ports[0])
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[0])
	if neg || err != nil {
		ts.Fatalf("usage: exits CODE COMMAND...")
	}
	got := 0
	err = ts.Exec(args[1], args[2:]...)
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("%s: exit %d, want %d", strings.Join(args[1:], " "), got, want)
	}
}

// signals are those that the scripts send.
var signals = map[string]os.Signal{"HUP": syscall.SIGHUP, "INT": syscall.SIGINT, "QUIT": syscall.SIGQUIT, "TERM": syscall.SIGTERM}

func sendSignal(ts *testscript.TestScript, _ bool, args []string) {
	for _, cmd := range ts.BackgroundCmds() {
		ts.Check(cmd.Process.Signal(signals[args[0]]))
	}
}

func await(ts *testscript.TestScript, _ bool, args []string) {
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		text, err := os.ReadFile(ts.MkAbs(args[0]))
		if err == nil && strings.Contains(string(text), args[1]) {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("await %s %q: %v\n%s", args[0], args[1], err, text)
		}
	}
}
