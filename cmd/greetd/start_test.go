package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// shipped is the path of greetd as make build makes it.
var shipped = sync.OnceValues(func() (string, error) {
	directory := filepath.Join(builtDirectory(), "shipped")
	build := exec.Command("make", "-C", "../..", "build", "BIN="+directory)
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("make build: %w\n%s", err, out)
	}
	return filepath.Join(directory, "greetd"), nil
})

const (
	mostBytes  = 18_000_000
	mostMemory = 14_000_000
)

func TestSize(t *testing.T) {
	greetd, err := shipped()
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(greetd)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("greetd has %d bytes", info.Size())
	if info.Size() > mostBytes {
		t.Errorf("greetd has %d bytes, more than %d", info.Size(), mostBytes)
	}
}

// A manager waits for READY=1, as systemd does.
type manager struct {
	socket *net.UnixConn
	path   string
}

func newManager(tb testing.TB) manager {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = socket.Close() })
	return manager{socket, path}
}

// run starts a program, and returns when it is ready, and how long that took.
func (m manager) run(tb testing.TB, program string) (*exec.Cmd, time.Duration) {
	tb.Helper()
	service := exec.Command(program)
	var said bytes.Buffer
	service.Stderr = &said
	service.Dir = tb.TempDir()
	service.Env = []string{"NOTIFY_SOCKET=" + m.path, "GREETD_LISTEN=127.0.0.1:0", "RUNTIME_DIRECTORY=" + service.Dir}
	begun := time.Now()
	if err := service.Start(); err != nil {
		tb.Fatal(err)
	}
	buffer := make([]byte, 4096)
	for {
		_ = m.socket.SetReadDeadline(time.Now().Add(time.Minute))
		n, err := m.socket.Read(buffer)
		if err != nil {
			_ = service.Process.Kill()
			_ = service.Wait()
			tb.Fatalf("%s does not get ready: %v\n%s", program, err, &said)
		}
		if slices.Contains(strings.Split(string(buffer[:n]), "\n"), "READY=1") {
			return service, time.Since(begun)
		}
	}
}

func stop(service *exec.Cmd) {
	_ = service.Process.Kill()
	_ = service.Wait()
}

// BenchmarkReady starts greetd as it is shipped, with the default configuration, and beside
// it the least of a service in Go, in turn: see testdata/bare.
//
//	go test -run=^$ -bench=Ready -benchtime=50x ./cmd/greetd
func BenchmarkReady(b *testing.B) {
	greetd, err := shipped()
	if err != nil {
		b.Fatal(err)
	}
	bare := filepath.Join(b.TempDir(), "bare")
	build := exec.Command("go", "build", "-buildvcs=false", "-trimpath", "-ldflags=-s -w", "-o", bare, "./testdata/bare")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("go build: %v\n%s", err, out)
	}
	m := newManager(b)
	times := make(map[string][]time.Duration)
	for b.Loop() {
		for _, program := range []string{greetd, bare} {
			service, took := m.run(b, program)
			stop(service)
			times[program] = append(times[program], took)
		}
	}
	for _, all := range times {
		slices.Sort(all)
	}
	median := func(program string) float64 { return times[program][len(times[program])/2].Seconds() * 1e3 }
	b.ReportMetric(median(greetd), "ms/ready")
	b.ReportMetric(times[greetd][0].Seconds()*1e3, "ms/best")
	b.ReportMetric(median(bare), "ms/bare")
	b.ReportMetric(median(greetd)/median(bare), "ratio")
}

// memory reads lines such as VmRSS of a process, in kilobytes.
func memory(tb testing.TB, pid int) map[string]int {
	tb.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		tb.Fatal(err)
	}
	all := make(map[string]int)
	for line := range strings.Lines(string(text)) {
		name, rest, _ := strings.Cut(line, ":")
		if size, ok := strings.CutSuffix(strings.TrimSpace(rest), " kB"); ok {
			all[name], _ = strconv.Atoi(size)
		}
	}
	return all
}

func TestIdleMemory(t *testing.T) {
	greetd, err := shipped()
	if err != nil {
		t.Fatal(err)
	}
	service, _ := newManager(t).run(t, greetd)
	defer stop(service)
	var used map[string]int
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) { // limits.ReleaseStartup is called after READY=1
		used = memory(t, service.Process.Pid)
		if used["VmRSS"]<<10 <= mostMemory || time.Now().After(deadline) {
			break
		}
	}
	t.Logf("%d KiB, of which %d are its own and %d of the file", used["VmRSS"], used["RssAnon"], used["RssFile"])
	if bytes := used["VmRSS"] << 10; bytes == 0 || bytes > mostMemory {
		t.Errorf("an idle greetd has %d bytes in memory, want at most %d", bytes, mostMemory)
	}
}
