package main

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"greetd.example/internal/test/debian"
	"greetd.example/internal/test/testserver"
)

// strangers are the servers of the table in docs/check.md.
func strangers(t *testing.T) map[string]string {
	t.Helper()
	addr := map[string]string{"nobody listens": nobody(t)}
	for name, behavior := range map[string]testserver.Behavior{
		"greets":                testserver.Greet("220 ready\r\n"),
		"greets and closes":     testserver.GreetAndClose("220 ready\r\n"),
		"says Hello and closes": testserver.GreetAndClose("Hello\r\n"),
		"says Hello and waits":  testserver.Greet("Hello\r\n"),
		"greets after 1 s":      testserver.GreetLate("220 ready\r\n", time.Second),
		"greets in pieces":      testserver.GreetInPieces(50*time.Millisecond, "220 ", "rea", "dy\r\n"),
		"says 1 MiB":            testserver.Big(1 << 20),
		"says nothing":          testserver.Silent,
		"closes at once":        testserver.Close,
		"resets at once":        testserver.Reset,
		"says NUL first":        testserver.Greet("\x00 220 ready\r\n"),
		"never stops":           testserver.Repeat("more\r\n", 10*time.Millisecond),
		"self-signed TLS":       overTLS(t, "220 ready\r\n"),
	} {
		addr[name] = testserver.Listen(t, behavior).Addr
	}
	return addr
}

// overTLS greets with a certificate that nobody trusts.
func overTLS(t *testing.T, text string) testserver.Behavior {
	t.Helper()
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	config := &tls.Config{Certificates: s.TLS.Certificates}
	return func(c net.Conn) {
		secure := tls.Server(c, config)
		defer secure.Close()
		_, _ = io.WriteString(secure, text)
		_, _ = io.Copy(io.Discard, secure)
	}
}

// TestBesideCheckTCP runs every line of the manual's table.
func TestBesideCheckTCP(t *testing.T) {
	checkTCP := debian.Program(t, "/usr/lib/nagios/plugins/check_tcp", "monitoring-plugins-basic")
	manual, err := os.ReadFile("../../docs/check.md")
	if err != nil {
		t.Fatal(err)
	}
	addr := strangers(t)
	lines := 0
	for line := range strings.Lines(string(manual)) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) != 8 || strings.HasPrefix(cells[1], "---") || strings.Contains(line, "why they differ") {
			continue
		}
		lines++
		for i := range cells {
			cells[i] = strings.Trim(cells[i], " `")
		}
		t.Run(strings.Join(cells[1:3], " "), func(t *testing.T) {
			t.Parallel()
			_, port, err := net.SplitHostPort(addr[cells[1]])
			if err != nil {
				t.Fatalf("there is no server that %s", cells[1])
			}
			where := []string{"-H", "127.0.0.1", "-p", port, "-t", "8"}
			var theirs int
			var theyEnd sync.WaitGroup
			theyEnd.Go(func() {
				var said string
				theirs, said = checkedBy(t, checkTCP, slices.Concat(where, strings.Fields(cells[2])))
				if strconv.Itoa(theirs) != cells[3] {
					t.Errorf("check_tcp %s: state %d, the manual says %s: %.200s", cells[2], theirs, cells[3], said)
				}
			})
			ours, said := checkedByUs(t, slices.Concat(where, strings.Fields(cells[4])))
			if strconv.Itoa(ours) != cells[5] {
				t.Errorf("check_greet %s: state %d, the manual says %s: %s", cells[4], ours, cells[5], said)
			}
			theyEnd.Wait()
			if theirs != ours && cells[6] == "" {
				t.Error("the manual does not say why they differ")
			}
		})
	}
	if lines < 20 {
		t.Errorf("the manual has %d servers in its table: it is not found any more", lines)
	}
}

// The attacks that work on check_tcp.
func TestBannersThatFoolCheckTCP(t *testing.T) {
	checkTCP := debian.Program(t, "/usr/lib/nagios/plugins/check_tcp", "monitoring-plugins-basic")
	for banner, attack := range map[string]string{
		"220 a|time=0s;;;0\r\n":      "|time=0s;;;0",
		"220 \x1b[31mred\r\n":        "\x1b[31m",
		"220 a\r\nOK - line two\r\n": "\r\nOK",
	} {
		_, port, _ := net.SplitHostPort(testserver.Listen(t, testserver.Greet(banner)).Addr)
		args := []string{"-H", "127.0.0.1", "-p", port, "-e", "220"}
		if _, said := checkedBy(t, checkTCP, args); !strings.Contains(said, attack) {
			t.Logf("this check_tcp is not fooled by %q: %q", banner, said)
		}
		if code, said := checkedByUs(t, args); code != 0 || strings.Contains(said, attack) ||
			strings.Count(said, "|") != 1 || strings.Count(said, "\n") != 1 {
			t.Errorf("%q gets through: %d, %q", banner, code, said)
		}
	}
}

func checkedBy(t *testing.T, plugin string, args []string) (int, string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), plugin, args...).Output()
	exit, failed := errors.AsType[*exec.ExitError](err)
	switch {
	case failed:
		return exit.ExitCode(), string(out)
	case err != nil:
		t.Errorf("run %s: %v", plugin, err)
	}
	return 0, string(out)
}

func checkedByUs(t *testing.T, args []string) (int, string) {
	t.Helper()
	var out strings.Builder
	code := run(t.Context(), append([]string{pluginName}, args...), strings.NewReader(""), &out, io.Discard)
	return code, out.String()
}
