//go:build linux

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"greetd.example/internal/test/debian"
	"greetd.example/internal/test/testserver"
)

// An interrupt leaves a valid line for each target that ended, and exits 130.
func TestInterrupt(t *testing.T) {
	greets := testserver.Listen(t, testserver.Greet("220 hi\n")).Addr
	silent := testserver.Listen(t, testserver.Silent).Addr
	cmd := exec.Command("greetprobe", "-o", "json", silent, greets, silent)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for n := 0; lines.Scan(); n++ {
		var r struct{ Target, Status string }
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil || r.Status != "ok" || r.Target != greets || n > 0 {
			t.Errorf("line %d: %s, %v", n, lines.Text(), err)
		}
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Error(err)
		}
	}
	err = cmd.Wait()
	if code := exitOf(err); code != 130 {
		t.Errorf("exit code %d (%v), want 130", code, err)
	}
	if took := time.Since(began); took > 8*time.Second {
		t.Errorf("took %s: the interrupt did not end it", took)
	}
	if got, want := errs.String(), "greetprobe: interrupted: 1 of 3 targets probed\n"; got != want {
		t.Errorf("stderr = %q, want %q", got, want)
	}
}

func exitOf(err error) int {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	}
	return 0
}

// Out of descriptors, it goes on with fewer targets at once.
func TestFewDescriptors(t *testing.T) {
	server := testserver.Listen(t, testserver.GreetLate("220 hi\n", 10*time.Millisecond))
	_, port, _ := strings.Cut(server.Addr, ":")
	for _, host := range []string{"127.0.0.1", "localhost"} {
		targets := strings.Repeat(host+":"+port+"\n", 200)
		cmd := exec.Command("sh", "-c", "ulimit -n 32; exec greetprobe -o json -P 200 -f -")
		cmd.Stdin = strings.NewReader(targets)
		var errs bytes.Buffer
		cmd.Stderr = &errs
		out, err := cmd.Output()
		if err != nil {
			t.Errorf("%s: %v\n%s", host, err, errs.String())
		}
		if n := strings.Count(string(out), `"status":"ok"`); n != 200 {
			t.Errorf("%s: %d of 200 targets are ok", host, n)
		}
		if n := strings.Count(errs.String(), "\n"); n == 0 || n > 4 || !strings.Contains(errs.String(), "descriptors are enough for ") {
			t.Errorf("%s: stderr = %q, want a word about descriptors", host, errs.String())
		}
	}
}

// What the text format is, promtool decides.
func TestPromtool(t *testing.T) {
	promtool := debian.Program(t, "promtool", "prometheus")
	dir := t.TempDir()
	file := filepath.Join(dir, "greet.prom")
	secure := testserver.Listen(t, overTLS(t, "220 hi\n")).Addr
	socket := filepath.Join(dir, `a "quoted" \ name`)
	testserver.ListenOn(t, "unix", socket, testserver.Greet("hi\n"))
	greets := testserver.Listen(t, testserver.Greet("220 hi\n")).Addr
	for _, args := range [][]string{
		{greets, nobody(t), "unix:" + socket, greets},
		{"--tls", "--insecure", secure},
		{"nosuch.invalid:25"},
	} {
		out, err := exec.Command("greetprobe", append([]string{"--textfile", file}, args...)...).CombinedOutput()
		metrics, readErr := os.Open(file)
		if readErr != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
		check := exec.Command(promtool, "check", "metrics")
		check.Stdin = metrics
		said, err := check.CombinedOutput()
		metrics.Close()
		text, _ := os.ReadFile(file)
		if err != nil || len(said) > 0 {
			t.Errorf("%v: promtool: %v\n%s\n%s", args, err, said, text)
		}
		if told := strings.Contains(string(text), "greetprobe_tls_not_after_seconds{"); told != (args[0] == "--tls") {
			t.Errorf("%v: the certificate's end is told: %v\n%s", args, told, text)
		}
	}
}

// TestDualStack runs in a network namespace of its own, with a hosts file of its own.
func TestDualStack(t *testing.T) {
	if os.Getenv(inNamespace) != "" {
		testDualStack(t)
		return
	}
	if os.Getuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs root for a network namespace")
		}
		debian.Lacking(t, "root, for a network namespace")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run=^TestDualStack$", "-test.v")
	cmd.Env = append(os.Environ(), inNamespace+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Unshareflags: syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("--- PASS: TestDualStack/")) {
		t.Errorf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}

const inNamespace = "GREETPROBE_TEST_IN_NAMESPACE"

// A destination in 2001:db8::/64 or 192.0.2.0/24 that is no neighbour of ours swallows
// every packet.
const namespace = `
set -e
ip link set lo up
ip link add hole type veth peer name bottom
ip link set hole up
ip link set bottom up
ip -6 addr add 2001:db8::1/64 dev hole nodad
ip addr add 192.0.2.1/24 dev hole
ip -6 neigh add 2001:db8::2 lladdr 02:00:00:00:00:01 dev hole
ip neigh add 192.0.2.2 lladdr 02:00:00:00:00:01 dev hole
printf '%s\n' '127.0.0.1 localhost v6silent v4only alldead' '::1 localhost' '2001:db8::2 v6silent' '192.0.2.2 v4silent' '::1 v4silent' >"$1"
mount --bind "$1" /etc/hosts
`

func testDualStack(t *testing.T) {
	t.Helper()
	setup := exec.Command("sh", "-c", namespace, "sh", filepath.Join(t.TempDir(), "hosts"))
	if out, err := setup.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	v4 := testserver.Listen(t, testserver.Greet("220 four\n")).Addr
	_, port, _ := strings.Cut(v4, ":")
	six := testserver.ListenOn(t, "tcp6", "[::1]:0", testserver.Greet("220 six\n")).Addr
	_, sixPort, _ := strings.Cut(six, "]:")
	for _, test := range []struct {
		name     string
		args     []string
		exit     int
		want     []string
		from, to time.Duration
	}{
		{"::1 refused", []string{"localhost", port}, 0, []string{`"[::1]:PORT" refused`, `"127.0.0.1:PORT" connected`}, 0, 2 * time.Second},
		{"IPv6 blackholed", []string{"v6silent", port}, 0, []string{`"[2001:db8::2]:PORT" canceled`, `"127.0.0.1:PORT" connected`}, 250 * time.Millisecond, 4 * time.Second},
		{"IPv6 greets", []string{"v4silent", sixPort}, 0, []string{`"[::1]:PORT" connected`}, 0, 2 * time.Second},
		{"-4", []string{"-4", "localhost", port}, 0, []string{`"127.0.0.1:PORT" connected`}, 0, 2 * time.Second},
		{"-6, refused", []string{"-6", "localhost", port}, 3, []string{`"[::1]:PORT" refused`}, 0, 2 * time.Second},
		{"no IPv6 address", []string{"-6", "v4only", port}, 2, nil, 0, 5 * time.Second},
		{"blackholed", []string{"--connect-timeout", "1s", "192.0.2.2", port}, 3, []string{`"192.0.2.2:PORT" timeout`}, time.Second, 4 * time.Second},
		{"no route", []string{"203.0.113.1", port}, 3, []string{`"203.0.113.1:PORT" unreachable ENETUNREACH`}, 0, 2 * time.Second},
		{"no route, IPv6", []string{"2001:db8:1::1", port}, 3, []string{`"[2001:db8:1::1]:PORT" unreachable ENETUNREACH`}, 0, 2 * time.Second},
		{"no name", []string{"nosuch.example", port}, 2, nil, 0, 14 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			began := time.Now()
			out, err := exec.Command("greetprobe", append([]string{"-o", "json"}, test.args...)...).Output()
			took := time.Since(began)
			var r struct {
				Attempts []struct{ Addr, Result, Errno string }
			}
			if err := json.Unmarshal(out, &r); err != nil {
				t.Fatalf("%v: %q", err, out)
			}
			if code := exitOf(err); code != test.exit {
				t.Errorf("exit code %d, want %d: %s", code, test.exit, out)
			}
			if len(r.Attempts) != len(test.want) {
				t.Fatalf("%d attempts, want %q: %s", len(r.Attempts), test.want, out)
			}
			for i, a := range r.Attempts {
				got := fmt.Sprintf("%q %s %s", a.Addr, a.Result, a.Errno)
				want := strings.NewReplacer("PORT", test.args[len(test.args)-1]).Replace(test.want[i])
				if !strings.HasPrefix(got, want) {
					t.Errorf("attempt %s, want %s", got, want)
				}
			}
			if took < test.from || took > test.to {
				t.Errorf("took %s, want %s to %s", took, test.from, test.to)
			}
		})
	}
}
