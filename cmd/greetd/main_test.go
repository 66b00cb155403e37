package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"greetd": main})
}

// TestScripts runs greetd as its operator does. Beside testscript's own commands there are
//
//	freeport NAME...       a port of 127.0.0.1 that nobody uses, for each NAME
//	[!] hear ADDR [LINE]   connect, once somebody listens, send LINE, and print what is said; !: nobody listens
//	signal SIGNAL          to the process in the background
//	await FILE TEXT        until the file has the text
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("TMPDIR", e.WorkDir)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"freeport": freeport,
			"hear":     hear,
			"signal":   sendSignal,
			"await":    await,
		},
	})
}

func freeport(ts *testscript.TestScript, _ bool, names []string) {
	for _, name := range names {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		ts.Check(err)
		defer ln.Close()
		ts.Setenv(name, strconv.Itoa(ln.Addr().(*net.TCPAddr).Port))
	}
}

// patient bounds the wait for what another process does.
const patient = 30 * time.Second

func hear(ts *testscript.TestScript, neg bool, args []string) {
	network, address := "tcp", args[0]
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", path
	}
	end := time.Now().Add(patient)
	for {
		text, err := greetingAt(network, address, args[1:])
		switch {
		case err == nil && !neg:
			fmt.Fprint(ts.Stdout(), text)
			return
		case err != nil && neg:
			return
		case time.Now().After(end):
			ts.Fatalf("hear %s: %q, %v", address, text, err)
		}
		time.Sleep(10 * time.Millisecond) // another process has to move
	}
}

func greetingAt(network, address string, lines []string) (string, error) {
	c, err := net.Dial(network, address)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patient))
	for _, line := range lines {
		if _, err := io.WriteString(c, line+"\r\n"); err != nil {
			return "", err
		}
	}
	text, err := io.ReadAll(c)
	return string(text), err
}

func sendSignal(ts *testscript.TestScript, _ bool, args []string) {
	s := unix.SignalNum("SIG" + args[0])
	for _, cmd := range ts.BackgroundCmds() {
		ts.Check(cmd.Process.Signal(s))
	}
}

func await(ts *testscript.TestScript, _ bool, args []string) {
	for end := time.Now().Add(patient); ; time.Sleep(10 * time.Millisecond) {
		text, err := os.ReadFile(ts.MkAbs(args[0]))
		if err == nil && strings.Contains(string(text), args[1]) {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("await %s %q: %v\n%s", args[0], args[1], err, text)
		}
	}
}
