package main

import (
	"bytes"
	"context"
	"encoding/json"
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
	"time"
)

// A process group runs a peer.
type group struct {
	commands []*exec.Cmd
	said     said
}

// said is what processes say, all into one.
type said struct {
	mu   sync.Mutex
	text strings.Builder
}

func (s *said) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// waitTimeout bounds waits.
const waitTimeout = 20 * time.Second

// start starts p and waits until it accepts connections.
func start(ctx context.Context, p peer) (*group, error) {
	g := &group{}
	for range max(p.copies, 1) {
		cmd := exec.CommandContext(ctx, p.args[0], p.args[1:]...)
		cmd.Env = append(os.Environ(), p.env...)
		cmd.Stdout, cmd.Stderr = &g.said, &g.said
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			return nil, err
		}
		g.commands = append(g.commands, cmd)
	}
	for end := time.Now().Add(waitTimeout); ; time.Sleep(10 * time.Millisecond) {
		err := whyClosed(ctx)
		if err == nil {
			return g, nil
		}
		if time.Now().After(end) || ctx.Err() != nil {
			g.stop()
			return nil, fmt.Errorf("%s does not take clients: %w\n%s", p.name, err, g.said.String())
		}
	}
}

// stop ends the group, and returns when the port is free.
func (g *group) stop() {
	for _, cmd := range g.commands {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
	}
	for end := time.Now().Add(waitTimeout); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if whyClosed(context.Background()) != nil {
			return
		}
		// A worker of nginx is not gone yet.
	}
}

// whyClosed returns why nothing accepts connections.
func whyClosed(ctx context.Context) error {
	var dialer net.Dialer
	c, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return c.Close()
}

// processes are those of the group, with their children.
func (g *group) processes() []int {
	var all []int
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, stat := range stats {
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(stat)))
		leader, err := syscall.Getpgid(pid)
		for _, cmd := range g.commands {
			if err == nil && leader == cmd.Process.Pid {
				all = append(all, pid)
			}
		}
	}
	return all
}

// tick is the unit of times in proc_pid_stat(5): USER_HZ is 100 on all of Go's Linux ports.
const tick = 10 * time.Millisecond

// cpu is the processor time that the group has taken, in user space and in the kernel.
func (g *group) cpu() time.Duration {
	var ticks int
	for _, pid := range g.processes() {
		stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		_, rest, _ := bytes.Cut(stat, []byte(") ")) // the name before may have anything in it
		fields := strings.Fields(string(rest))
		for _, i := range []int{14 - 3, 15 - 3} { // utime and stime
			if i < len(fields) {
				n, _ := strconv.Atoi(fields[i])
				ticks += n
			}
		}
	}
	return time.Duration(ticks) * tick
}

// memory is what the group has in memory that is no file's, in bytes.
func (g *group) memory() int64 {
	var kilobytes int64
	for _, pid := range g.processes() {
		rollup, _ := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		for line := range strings.Lines(string(rollup)) {
			if strings.HasPrefix(line, "Anonymous:") {
				n, _ := strconv.ParseInt(strings.Fields(line)[1], 10, 64)
				kilobytes += n
			}
		}
	}
	return kilobytes * 1024
}

// A result is what one load has shown.
type result struct {
	Connections int     `json:"connections"`
	Bad         int     `json:"bad"`
	Seconds     float64 `json:"seconds"`
	ClientCPU   float64 `json:"client_cpu_seconds"`
	P50         float64 `json:"p50_us"`
	P99         float64 `json:"p99_us"`
	P999        float64 `json:"p999_us"`

	serverCPU time.Duration
}

func (r result) rate() float64    { return float64(r.Connections) / r.Seconds }
func (r result) p50() float64     { return r.P50 / 1e3 } // ms, as those below
func (r result) p99() float64     { return r.P99 / 1e3 }
func (r result) p999() float64    { return r.P999 / 1e3 }
func (r result) cpuEach() float64 { return r.serverCPU.Seconds() * 1e6 / float64(r.Connections) }

// load starts p, warms it up, loads it for a while and stops it.
func (b *bench) load(ctx context.Context, p peer, clientArgs ...string) (result, error) {
	return b.loadOver(ctx, "", p, clientArgs...)
}

// loadOver is load by clients behind a link, "" for none.
func (b *bench) loadOver(ctx context.Context, link string, p peer, clientArgs ...string) (result, error) {
	g, err := start(ctx, p)
	if err != nil {
		return result{}, err
	}
	defer g.stop()
	if _, err := b.clients(ctx, link, b.time/4, clientArgs...); err != nil {
		return result{}, err
	}
	before := g.cpu()
	r, err := b.clients(ctx, link, b.time, clientArgs...)
	r.serverCPU = g.cpu() - before
	if err == nil && r.Connections == 0 {
		err = errors.New("nobody was greeted")
	}
	if err != nil {
		err = fmt.Errorf("%s: %w\n%s", p.name, err, g.said.String())
	}
	return r, err
}

func (b *bench) clients(ctx context.Context, link string, d time.Duration, args ...string) (result, error) {
	command := append([]string{b.client, "-p", port, "-t", strconv.FormatFloat(d.Seconds(), 'f', 3, 64)}, args...)
	if link != "" {
		command = append(append([]string{b.link, link}, command...), "-a", "10.201.0.1", "-f", "10.200.0.2")
	}
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return result{}, err
	}
	var r result
	return r, json.Unmarshal(out, &r)
}

// holders are clients that stay connected until leave.
type holders struct {
	cmd   *exec.Cmd
	stdin io.Closer
}

// hold lets clients come, and returns when all of them have their greeting.
func (b *bench) hold(ctx context.Context, n int, args ...string) (*holders, error) {
	cmd := exec.CommandContext(ctx, b.client, append([]string{"-p", port, "-c", strconv.Itoa(n), "-H"}, args...)...)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	var held int
	if _, err := fmt.Fscanf(stdout, "held %d\n", &held); err != nil || held != n {
		_ = cmd.Process.Kill()
		return nil, fmt.Errorf("%d of %d clients hold on: %w", held, n, errors.Join(err, cmd.Wait()))
	}
	return &holders{cmd, stdin}, nil
}

func (h *holders) leave() error {
	_ = h.stdin.Close()
	return h.cmd.Wait()
}
