package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"greetd.example/internal/test/freeport"
	"greetd.example/internal/test/wallclock"
)

func TestMain(m *testing.M) {
	testscript.Main(tidy{m}, map[string]func(){"greetd": main, "wallclock": wallclock.Main})
}

// tidy removes what the tests share when they have run.
type tidy struct{ *testing.M }

func (t tidy) Run() int {
	defer os.RemoveAll(builtDirectory())
	return t.M.Run()
}

// TestScripts runs greetd as its operator does.
func TestScripts(t *testing.T) { runScripts(t, "testdata/script") }

// runScripts runs what is in a directory. Beside testscript's own commands there are
//
//	freeport NAME...       a port of 127.0.0.1 that nobody uses, for each NAME
//	[!] hear [-from IP] ADDR [LINE]
//	                       connect, once somebody listens, send LINE, and print what is said; !: nobody listens
//	signal SIGNAL          to the process in the background
//	await FILE TEXT        until the file has the text
//	[two-cpus]             there are two, and TWO_CPUS is their list for taskset
//	certificate NAME [AGE] NAME.pem and NAME.key, for greet.example and 127.0.0.1, valid for an hour; AGE: made so long ago
func runScripts(t *testing.T, directory string) {
	t.Helper()
	testscript.Run(t, testscript.Params{
		Dir:                 directory,
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("TMPDIR", e.WorkDir)
			e.Setenv("TWO_CPUS", twoCPUs())
			return nil
		},
		Condition: func(name string) (bool, error) {
			if name != "two-cpus" {
				return false, fmt.Errorf("unknown condition %q", name)
			}
			return twoCPUs() != "", nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"freeport": setFreePorts,
			"hear":     hear,
			"signal":   sendSignal,
			"await":    await,

			"certificate": makeCertificate,
		},
	})
}

// twoCPUs lists two that we may run on, for taskset(1); "" if there is but one.
func twoCPUs() string {
	var ours unix.CPUSet
	if err := unix.SchedGetaffinity(0, &ours); err != nil {
		return ""
	}
	var list []string
	for i := range 1024 {
		if ours.IsSet(i) {
			list = append(list, strconv.Itoa(i))
		}
	}
	if len(list) < 2 {
		return ""
	}
	return strings.Join(list[:2], ",")
}

func setFreePorts(ts *testscript.TestScript, _ bool, names []string) {
	ports, err := freeport.Find(len(names))
	ts.Check(err)
	for i, name := range names {
		ts.Setenv(name, strconv.Itoa(ports[i]))
	}
}

// waitLimit bounds the wait for what another process does.
const waitLimit = 30 * time.Second

func hear(ts *testscript.TestScript, neg bool, args []string) {
	var here net.Dialer
	if args[0] == "-from" {
		here.LocalAddr = &net.TCPAddr{IP: net.ParseIP(args[1])}
		args = args[2:]
	}
	network, address := "tcp", args[0]
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", path
	}
	end := time.Now().Add(waitLimit)
	for {
		text, err := greetingAt(here, network, address, args[1:])
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

func greetingAt(here net.Dialer, network, address string, lines []string) (string, error) {
	c, err := here.Dial(network, address)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(waitLimit))
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
	for end := time.Now().Add(waitLimit); ; time.Sleep(10 * time.Millisecond) {
		text, err := os.ReadFile(ts.MkAbs(args[0]))
		if err == nil && strings.Contains(string(text), args[1]) {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("await %s %q: %v\n%s", args[0], args[1], err, text)
		}
	}
}

func makeCertificate(ts *testscript.TestScript, _ bool, args []string) {
	made := time.Now()
	if len(args) > 1 {
		age, err := time.ParseDuration(args[1])
		ts.Check(err)
		made = made.Add(-age)
	}
	ts.Check(writeCertificate(ts.MkAbs(args[0]), made))
}

// writeCertificate makes path.pem and path.key.
func writeCertificate(path string, made time.Time) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(made.UnixNano()),
		Subject:      pkix.Name{CommonName: filepath.Base(path)},
		DNSNames:     []string{"greet.example"},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore:    made,
		NotAfter:     made.Add(time.Hour),
	}
	chain, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(path+".pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: chain}), 0o600),
		os.WriteFile(path+".key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
}
