package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A comparison fills one table.
type comparison struct {
	name string
	make func(ctx context.Context) error
}

func (b *bench) comparisons() []comparison {
	const here64 = "-c64"
	plain := b.nginxWith("", `return "Hello there, $remote_addr!\n";`)
	greetd := b.greetdWith("greetd", here(""), unlogged)
	twoCPUs := greetd
	twoCPUs.name, twoCPUs.env = "GOMAXPROCS=2", []string{"GOMAXPROCS=2"}
	pair := b.path("pair.pem")
	bare := b.ours("bare Go loop", "bare")
	farNginx := b.nginxAt(everywhere, "", `return "Hello there, $remote_addr!\n";`)
	farGreetd := b.greetdWith("greetd", at(everywhere, ""), unlogged)
	farTwo := farGreetd
	farTwo.name, farTwo.env = twoCPUs.name, twoCPUs.env
	return []comparison{
		{"plain", b.rates(plainTitle, 0, []peer{plain, greetd, bare, {name: "C floor", args: []string{b.floor, port}}}, here64)},
		{"open", b.openLoops("open loop", "", plain, greetd, twoCPUs, bare)},
		{"link", b.openLoops("behind a link with a delay of 1 ms, open loop", "1000", farNginx, farGreetd, farTwo)},
		{"cpus", b.rates("as many CPUs for Go as greetd takes, and two", 0, []peer{greetd, twoCPUs}, here64)},
		{"log", b.logged(greetd)},
		{"limits", b.rates("20 networks in access.deny, and a limit for each source", 0, []peer{greetd, b.greetdWith("greetd, limiting", here(""), unlogged, limiting())}, here64)},
		{"tls", b.rates(tlsTitle, 0, []peer{
			b.nginxWith("ssl", "ssl_certificate "+pair+";", "ssl_certificate_key "+pair+";", `return "Hello there, $remote_addr!\n";`),
			b.greetdWith("greetd", here(fmt.Sprintf(", tls: {certificate: %q, key: %q}", pair, pair)), unlogged),
		}, here64, "-mtls")},
		{"proxy", b.rates(proxyTitle, 0, []peer{
			b.nginxWith("proxy_protocol", `return "Hello there, $proxy_protocol_addr!\n";`),
			b.greetdWith("greetd", here(", proxy_trusted: [127.0.0.0/8]"), unlogged),
		}, here64, "-mproxy")},
		{"concurrency", b.concurrency(plain, greetd)},
		{"acceptors", b.rates("accept loops in one process, on sockets that share the port (SO_REUSEPORT)", 0, []peer{
			b.ours("1 acceptor", "acceptors", "1"), b.ours("2 acceptors", "acceptors", "2"), b.ours("4 acceptors", "acceptors", "4"),
		}, here64)},
		{"processes", b.rates("processes on one port (`reuse_port: true`)", 0, []peer{
			b.copies(1), b.copies(2), b.copies(4),
		}, here64)},
		{"memory", b.memory},
	}
}

func (b *bench) copies(n int) peer {
	p := b.greetdWith(fmt.Sprintf("%d greetd", n), here(", reuse_port: true"), unlogged)
	p.copies = n
	return p
}

// limiting is what an operator may have: 20 networks, and a limit that nobody reaches.
func limiting() string {
	var networks []string
	for i := range 20 {
		networks = append(networks, fmt.Sprintf("198.18.%d.0/24", i))
	}
	return "access: {deny: [" + strings.Join(networks, ", ") + "]}\n" +
		"limits: {connections: 10000, per_source: {connections: 1000, rate: 100000, burst: 100000}}"
}

// introduce prints what is compared, and where.
func (b *bench) introduce(ctx context.Context) {
	line := func(command ...string) string {
		out, _ := exec.CommandContext(ctx, command[0], command[1:]...).CombinedOutput()
		first, _, _ := strings.Cut(string(out), "\n")
		return first
	}
	model := "unknown processor"
	cpuinfo, _ := os.ReadFile("/proc/cpuinfo")
	for text := range strings.Lines(string(cpuinfo)) {
		if name, ok := strings.CutPrefix(text, "model name"); ok {
			model = strings.Trim(name, "\t: \n")
			break
		}
	}
	fmt.Fprintf(b.out, "%s: %d cores of %s, Linux %s; %s; %s; %s; %s.\n%d rounds of %v for each server, client and server on the same cores.\n",
		time.Now().UTC().Format(time.DateOnly), runtime.NumCPU(), model, line("uname", "-r"),
		line(b.nginx, "-v"), line("go", "version"), line("gcc", "--version"), line("/lib/systemd/systemd", "--version"), b.rounds, b.time)
}

// rates loads the peers in turn, and makes a table of them. The base is what the others are
// held against.
func (b *bench) rates(title string, base int, peers []peer, clientArgs ...string) func(context.Context) error {
	return func(ctx context.Context) error {
		fmt.Fprintf(b.out, "\n## %s\n\n", title)
		results, err := b.everyRound(ctx, peers, func(peer) []string { return clientArgs })
		if err != nil {
			return err
		}
		b.table(peers, results, base)
		b.outcomes = append(b.outcomes, outcome{title, figures{results[1], results[base]}})
		return nil
	}
}

// everyRound loads each of the peers once in each round, and returns the results by peer. Who
// comes first changes from round to round.
func (b *bench) everyRound(ctx context.Context, peers []peer, clientArgs func(peer) []string) ([][]result, error) {
	results := make([][]result, len(peers))
	for round := range b.rounds {
		for i := range peers {
			i = (i + round) % len(peers)
			r, err := b.load(ctx, peers[i], clientArgs(peers[i])...)
			if err != nil {
				return nil, err
			}
			results[i] = append(results[i], r)
		}
	}
	return results, nil
}

// table prints the median of each figure, and the range of the ratios to the base of the
// same round.
func (b *bench) table(peers []peer, results [][]result, base int) {
	fmt.Fprintf(b.out, "| | connections/s | to %s | server CPU us each | to %s | p50 ms | p99 ms | p99.9 ms | bad |\n|---|---|---|---|---|---|---|---|---|\n",
		peers[base].name, peers[base].name)
	for i, p := range peers {
		f := figures{results[i], results[base]}
		fmt.Fprintf(b.out, "| %s | %.0f | %s | %.1f | %s | %.2f | %.2f | %.2f | %d |\n", p.name,
			f.median(result.rate), f.ratio(result.rate), f.median(result.cpuEach), f.ratio(result.cpuEach),
			f.median(result.p50), f.median(result.p99), f.median(result.p999), f.bad())
	}
}

// openLoops loads the peers at fixed rates: shares of what the first of them, in the same round, serves
// in a closed loop. A duration counts from the time at which its connection was due. link is the delay
// of each packet in microseconds, "" for clients on loopback.
func (b *bench) openLoops(name, link string, peers ...peer) func(context.Context) error {
	return func(ctx context.Context) error {
		shares := []float64{0.25, 0.5, 0.75}
		results := make([][][]result, len(shares)) // by share and peer, one for each round
		for i := range results {
			results[i] = make([][]result, len(peers))
		}
		for round := range b.rounds {
			best, err := b.loadOver(ctx, link, peers[0], "-c64")
			if err != nil {
				return err
			}
			for i, share := range shares {
				for j := range peers {
					j = (j + round) % len(peers)
					r, err := b.loadOver(ctx, link, peers[j], "-c4096", fmt.Sprintf("-R%.0f", share*best.rate()))
					if err != nil {
						return err
					}
					results[i][j] = append(results[i][j], r)
				}
			}
		}
		for i, share := range shares {
			title := fmt.Sprintf("%s, at %.0f %% of what %s serves in a closed one", name, 100*share, peers[0].name)
			fmt.Fprintf(b.out, "\n## %s\n\n", title)
			b.openTable(peers, results[i])
			b.outcomes = append(b.outcomes, outcome{title, figures{results[i][1], results[i][0]}})
		}
		return nil
	}
}

// openTable prints medians, and the range of the ratios to the first peer in the same round.
func (b *bench) openTable(peers []peer, results [][]result) {
	base := peers[0].name
	fmt.Fprintf(b.out, "| | connections/s | server CPU us each | to %s | p50 ms | p99 ms | to %s | p99.9 ms | bad |\n|---|---|---|---|---|---|---|---|---|\n", base, base)
	for i, p := range peers {
		f := figures{results[i], results[0]}
		fmt.Fprintf(b.out, "| %s | %.0f | %.1f | %s | %.2f | %.2f | %s | %.2f | %d |\n", p.name,
			f.median(result.rate), f.median(result.cpuEach), f.ratio(result.cpuEach), f.median(result.p50),
			f.median(result.p99), f.ratio(result.p99), f.median(result.p999), f.bad())
	}
}

// figures are the results of a peer, one for each round, and those of what it is compared with.
type figures struct{ own, base []result }

func (f figures) median(of func(result) float64) float64 {
	var all []float64
	for _, r := range f.own {
		all = append(all, of(r))
	}
	return median(all)
}

func (f figures) ratio(of func(result) float64) string { return spread(f.ratios(of)) }

func (f figures) ratios(of func(result) float64) (all []float64) {
	for i, r := range f.own {
		all = append(all, of(r)/of(f.base[i]))
	}
	return all
}

func (f figures) bad() (n int) {
	for _, r := range f.own {
		n += r.Bad
	}
	return n
}

// spread is the median, and from where to where it goes.
func spread(all []float64) string {
	return fmt.Sprintf("**%.2f** (%.2f to %.2f)", median(all), slices.Min(all), slices.Max(all))
}

func median(all []float64) float64 {
	sorted := slices.Sorted(slices.Values(all))
	if n := len(sorted); n%2 == 0 {
		return (sorted[n/2-1] + sorted[n/2]) / 2
	}
	return sorted[len(sorted)/2]
}

// concurrency compares each server at more clients with itself at 64.
func (b *bench) concurrency(plain, greetd peer) func(context.Context) error {
	return func(ctx context.Context) error {
		fmt.Fprintf(b.out, "\n## more clients at a time\n\n")
		var peers []peer
		for _, p := range []peer{greetd, plain} {
			for _, n := range []int{64, 1000, b.manyClients} {
				peers = append(peers, peer{name: fmt.Sprintf("%s, %d clients", p.name, n), args: p.args})
			}
		}
		results, err := b.everyRound(ctx, peers, func(p peer) []string {
			_, n, _ := strings.Cut(p.name, ", ")
			return []string{"-c" + strings.TrimSuffix(n, " clients")}
		})
		if err != nil {
			return err
		}
		b.table(peers, results, 0)
		return nil
	}
}

// logged holds greetd that logs visits to a journald against greetd that does not.
func (b *bench) logged(greetd peer) func(context.Context) error {
	return func(ctx context.Context) error {
		journald, err := startJournald(ctx)
		if err != nil {
			return err
		}
		defer journald.stop()
		return b.rates("the log of visits, to journald at the default rate", 0, []peer{
			greetd, b.greetdWith("greetd, logging", here(""), "log: {output: journald}"),
		}, "-c64")(ctx)
	}
}

// startJournald starts one that nobody else writes to: /run is ours.
func startJournald(ctx context.Context) (*group, error) {
	for _, dir := range []string{"/run/systemd/journal", "/run/log/journal"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	cmd := exec.CommandContext(ctx, "/lib/systemd/systemd-journald")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	g := &group{commands: []*exec.Cmd{cmd}}
	for end := time.Now().Add(waitTimeout); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat("/run/systemd/journal/socket"); err == nil {
			return g, nil
		}
	}
	g.stop()
	return nil, errors.New("journald does not listen")
}

// memory measures what clients cost that stay connected.
func (b *bench) memory(ctx context.Context) error {
	fmt.Fprintf(b.out, "\n## memory of the server, a client that stays\n\n| | clients | idle MB | with them MB | bytes each | after them MB |\n|---|---|---|---|---|---|\n")
	pair := b.path("pair.pem")
	longTimeouts := "timeouts: {linger: 10m, write: 10m, handshake: 1m}"
	roomy := "limits: {connections: 0}"
	long := strings.Repeat("x", 60<<10)
	clients, fewer := strconv.Itoa(b.manyClients), strconv.Itoa(min(b.manyClients, 4000))
	restore, err := narrow()
	if err != nil {
		return err
	}
	defer restore()
	for _, c := range []struct {
		peer
		clients string
		args    []string
	}{
		{b.greetdWith("greetd, lingering", here(""), unlogged, longTimeouts, roomy), clients, nil},
		{b.ours("bare Go loop, lingering", "bare"), clients, nil},
		{b.greetdWith("greetd, TLS, lingering", here(fmt.Sprintf(", tls: {certificate: %q, key: %q}", pair, pair)), unlogged, longTimeouts, roomy), fewer, []string{"-mtls"}},
		{b.greetdWith("greetd, a greeting of 60 KB that nobody reads", here(""), unlogged, longTimeouts, roomy, fmt.Sprintf("greeting: %q", long)), fewer, []string{"-r1024"}},
		{b.greetdWith("greetd, the same over TLS", here(fmt.Sprintf(", tls: {certificate: %q, key: %q}", pair, pair)), unlogged, longTimeouts, roomy, fmt.Sprintf("greeting: %q", long)), fewer, []string{"-r1024", "-mtls"}},
	} {
		if err := b.stay(ctx, c.peer, c.clients, c.args); err != nil {
			return err
		}
	}
	return nil
}

// narrow makes the kernel's send buffers so small that a long greeting waits in the server,
// until restore is called.
func narrow() (restore func(), err error) {
	const file = "/proc/sys/net/ipv4/tcp_wmem"
	before, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return func() { _ = os.WriteFile(file, before, 0) }, os.WriteFile(file, []byte("4096 4096 4096"), 0)
}

func (b *bench) stay(ctx context.Context, p peer, clients string, args []string) error {
	n, err := strconv.Atoi(clients)
	if err != nil {
		return err
	}
	g, err := start(ctx, p)
	if err != nil {
		return err
	}
	defer g.stop()
	idle := g.memory()
	h, err := b.hold(ctx, n, args...)
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", p.name, err, g.said.String())
	}
	with := b.steadyMemory(g)
	if err := h.leave(); err != nil {
		return err
	}
	after := b.steadyMemory(g)
	fmt.Fprintf(b.out, "| %s | %d | %.1f | %.1f | %d | %.1f |\n", p.name, n,
		float64(idle)/1e6, float64(with)/1e6, (with-idle)/int64(n), float64(after)/1e6)
	return nil
}

// steadyMemory is the memory of g when it changes no more: the runtime gives back what it does
// not need within some seconds.
func (b *bench) steadyMemory(g *group) int64 {
	const calm = 4 // looks in a row that show the same
	last, same := g.memory(), 0
	for range 40 {
		time.Sleep(b.time / 4)
		now := g.memory()
		if diff := now - last; diff > last/50 || diff < -last/50 {
			same = 0
		}
		if same++; same > calm*int(max(time.Second/b.time, 1)) {
			break
		}
		last = now
	}
	return last
}
