package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"greetd.example/internal/test/testserver"
	"greetd.example/pkg/probe"
)

// inMemory makes the Dial of a probe whose server treats each visitor like this.
func inMemory(behavior func(net.Conn)) func(context.Context, string, string) (net.Conn, error) {
	return func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		go func() {
			defer server.Close()
			behavior(server)
		}()
		return client, nil
	}
}

func greet(c net.Conn) {
	_, _ = io.WriteString(c, "220 ready\r\n")
	_, _ = io.Copy(io.Discard, c)
}

// stalling greets, but not in the first 2 s of every 10 since now.
func stalling() func(net.Conn) {
	began := time.Now()
	return func(c net.Conn) {
		if phase := time.Since(began) % (10 * time.Second); phase < 2*time.Second {
			time.Sleep(2*time.Second - phase)
		}
		greet(c)
	}
}

// runLoad runs a load with these flags, and returns its report and exit code.
func runLoad(ctx context.Context, t *testing.T, p probe.Probe, f loadFlags) (*loadReport, int) {
	t.Helper()
	target, err := probe.ParseTarget("192.0.2.1:25")
	if err != nil {
		t.Fatal(err)
	}
	if f.maxInflight == 0 {
		f.maxInflight = 1000
	}
	if f.arrivals == "" {
		f.arrivals = "constant"
	}
	f.output = "json"
	var out, errs strings.Builder
	l := load{loadFlags: &f, streams: streams{strings.NewReader(""), &out, &errs}, probe: p, target: target}
	err = l.run(ctx)
	if strings.Contains(out.String(), `"bottleneck":null`) {
		t.Error("no bottleneck is not an empty list")
	}
	var report loadReport
	if err := json.Unmarshal([]byte(out.String()), &report); err != nil {
		t.Fatalf("%v in %q; errors: %s", err, &out, &errs)
	}
	code, _ := errors.AsType[exitCode](err)
	return &report, int(code)
}

func within(t *testing.T, what string, got, least, most float64) {
	t.Helper()
	if got < least || got > most {
		t.Errorf("%s = %v, want %v to %v", what, got, least, most)
	}
}

// A server that stalls for 2 s in every 10 keeps a fifth of its visitors waiting, each
// for what is left of the stall: 1 of 100 waits for 1.9 s or longer.
func TestLoadSeesAStallingServer(t *testing.T) {
	for _, arrivals := range []string{"constant", "poisson"} {
		t.Run(arrivals, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := probe.Probe{Dial: inMemory(stalling()), Protocol: probe.Plain}
				r, code := runLoad(t.Context(), t, p, loadFlags{rate: 50, duration: time.Minute, arrivals: arrivals, seed: 7})
				if code != 0 || r.Outcomes[probe.OK] != r.Due || len(r.Bottleneck) != 0 {
					t.Errorf("exit %d, %d of %d ok, bottleneck %q", code, r.Outcomes[probe.OK], r.Due, r.Bottleneck)
				}
				within(t, "p99 from due", r.LatencyUS.P99, 1_800_000, 2_000_000)
				within(t, "p50 from due", r.LatencyUS.P50, 0, 1000)
				within(t, "p90 from due", r.LatencyUS.P90, 850_000, 1_150_000)
				within(t, "max from due", r.LatencyUS.Max, 1_900_000, 2_002_000)
				within(t, "p99 from start", r.ServiceUS.P99, 1_800_000, 2_000_000)
				within(t, "at once, at most", float64(r.Inflight), 80, 130)
				within(t, "achieved a second", r.Achieved, 48, 52)
			})
		})
	}
}

// With one probe at a time the same stall hides in the time from start, as it does
// in any closed loop: one probe of 500 met it. From due it can't hide.
func TestTimeFromDueCountsTheWaitForAPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := probe.Probe{Dial: inMemory(stalling()), Protocol: probe.Plain}
		r, code := runLoad(t.Context(), t, p, loadFlags{rate: 50, duration: time.Minute, maxInflight: 1})
		if code != 0 {
			t.Errorf("exit %d, want 0", code)
		}
		within(t, "p99 from due", r.LatencyUS.P99, 1_800_000, 2_000_000)
		within(t, "p99 from start", r.ServiceUS.P99, 0, 1000)
		if len(r.Bottleneck) != 1 || !strings.Contains(r.Bottleneck[0], "600 probes had to wait because --max-inflight 1 was reached") {
			t.Errorf("bottleneck = %q, want that 600 probes waited", r.Bottleneck)
		}
	})
}

func TestLoadTellsWhatItNeverStarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := probe.Probe{Dial: inMemory(func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })}
		r, code := runLoad(t.Context(), t, p, loadFlags{rate: 10, duration: 25 * time.Second, maxInflight: 20})
		// 20 start in the first 2 s, and again after the 10 s of --read-timeout, and again.
		if r.Due != 250 || r.Started != 60 || r.Outcomes[probe.NoGreeting] != 60 {
			t.Errorf("%d due, %d started, outcomes %v; want 250, 60, 60 no_greeting", r.Due, r.Started, r.Outcomes)
		}
		if code != exitTimeout || r.Exit != code {
			t.Errorf("exit = %d, and %d in the report; want %d", code, r.Exit, exitTimeout)
		}
		if r.LatencyUS != nil {
			t.Errorf("latency = %+v of no greeting at all", r.LatencyUS)
		}
		if len(r.Bottleneck) != 1 || !strings.Contains(r.Bottleneck[0], "190 never started") {
			t.Errorf("bottleneck = %q, want that 190 never started", r.Bottleneck)
		}
		within(t, "achieved a second", r.Achieved, 2.39, 2.41)
	})
}

// A busy machine is told of where it changes the picture, and not otherwise.
func TestLoadTellsThatThisMachineWasBusy(t *testing.T) {
	for _, tt := range []struct {
		name          string
		late, latency distribution
		want          string // in the sentence; empty: none
	}{
		{"idle", distribution{P90: 50, P99: 400}, distribution{P90: 300, P99: 500}, ""},
		{"late, but the server much later", distribution{P90: 5000, P99: 90_000}, distribution{P90: 800_000, P99: 1_900_000}, ""},
		{"often", distribution{P90: 5000, P99: 9000}, distribution{P90: 6000, P99: 20_000}, "a tenth of the probes started 5.000 ms late"},
		{"now and then", distribution{P90: 50, P99: 9000}, distribution{P90: 6000, P99: 20_000}, "one in a hundred of the probes started 9.000 ms late"},
	} {
		r := loadReport{LateUS: &tt.late, LatencyUS: &tt.latency}
		got := strings.Join(r.startedLate(), "; ")
		if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestLoadNamesLocalTroubleAndItsRemedy(t *testing.T) {
	for errno, remedy := range map[syscall.Errno]string{
		syscall.EADDRNOTAVAIL: "--source CIDR",
		syscall.EMFILE:        "ulimit -n",
	} {
		synctest.Test(t, func(t *testing.T) {
			p := probe.Probe{Dial: func(context.Context, string, string) (net.Conn, error) {
				return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", errno)}
			}}
			r, code := runLoad(t.Context(), t, p, loadFlags{rate: 10, duration: time.Second})
			if code != exitLocal {
				t.Errorf("%v: exit = %d, want %d", errno, code, exitLocal)
			}
			if len(r.Bottleneck) != 1 || !strings.Contains(r.Bottleneck[0], "10 probes failed on this machine") ||
				!strings.Contains(r.Bottleneck[0], remedy) {
				t.Errorf("%v: bottleneck = %q, want %q", errno, r.Bottleneck, remedy)
			}
		})
	}
}

func TestInterruptedLoadReportsWhatWasDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, interrupt := context.WithCancel(t.Context())
		defer time.AfterFunc(10*time.Second+time.Millisecond, interrupt).Stop()
		p := probe.Probe{Dial: inMemory(stalling()), Protocol: probe.Plain}
		r, code := runLoad(ctx, t, p, loadFlags{rate: 50, duration: time.Minute})
		if code != exitCanceled || !r.Interrupted || r.Exit != code {
			t.Errorf("exit = %d, interrupted = %v, want %d", code, r.Interrupted, exitCanceled)
		}
		// The one at 10 s stood in the second stall.
		if r.Due != 501 || r.Outcomes[probe.OK] != 500 || r.Outcomes[probe.Canceled] != 1 {
			t.Errorf("%d due, outcomes %v; want 501, 500 ok and 1 canceled", r.Due, r.Outcomes)
		}
		within(t, "achieved a second", r.Achieved, 50, 51)
		time.Sleep(2 * time.Second) // the server wakes up and sees that the client is gone
	})
}

// The kernel shows from where a load comes, and how it hangs up.
func TestLoadComesFromManyAddressesAndResets(t *testing.T) {
	var mu sync.Mutex
	from := map[netip.Addr]int{}
	resets := 0
	s := testserver.Listen(t, func(c net.Conn) {
		_, _ = io.WriteString(c, "220 ready\r\n")
		_, err := io.Copy(io.Discard, c)
		mu.Lock()
		defer mu.Unlock()
		from[c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr()]++
		if errors.Is(err, syscall.ECONNRESET) {
			resets++
		}
	})
	var out strings.Builder
	code := run(t.Context(), []string{"greetprobe", "load", "--rate", "28", "-d", "1s", "--rst", "-S", "127.0.0.0/28", s.Addr},
		strings.NewReader(""), &out, &out)
	if code != 0 {
		t.Fatalf("exit %d: %s", code, &out)
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) { // until the server has seen all
		mu.Lock()
		seen := resets
		mu.Unlock()
		if seen == 28 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d resets, want 28; %v", seen, from)
		}
	}
	if len(from) != 14 || from[netip.MustParseAddr("127.0.0.1")] != 2 || from[netip.MustParseAddr("127.0.0.14")] != 2 {
		t.Errorf("visits by address: %v, want 2 from each of 127.0.0.1 to 127.0.0.14", from)
	}
}

func TestSeedRepeatsThePoissonTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := slices.Collect((&loadFlags{rate: 50, duration: time.Second, arrivals: "poisson", seed: 1}).schedule())
		again := slices.Collect((&loadFlags{rate: 50, duration: time.Second, arrivals: "poisson", seed: 1}).schedule())
		if len(first) == 0 || !slices.Equal(first, again) {
			t.Errorf("times %v, and again %v", first, again)
		}
	})
}

func TestLoadWritesPercentiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "x.hgrm")
		p := probe.Probe{Dial: inMemory(stalling()), Protocol: probe.Plain}
		runLoad(t.Context(), t, p, loadFlags{rate: 50, duration: 10 * time.Second, hdr: file})
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"Value", "Percentile", "TotalCount", "1/(1-Percentile)", "Total count    =          500]", "2000."} {
			if !strings.Contains(string(text), want) {
				t.Errorf("no %q in:\n%s", want, text)
			}
		}
	})
}

func TestLoadWritesALogSecondBySecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "x.hlog")
		p := probe.Probe{Dial: inMemory(stalling()), Protocol: probe.Plain}
		runLoad(t.Context(), t, p, loadFlags{rate: 50, duration: 10 * time.Second, hdr: file})
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		counts := map[string][]int64{}
		for log := hdrhistogram.NewHistogramLogReader(f); ; {
			h, err := log.NextIntervalHistogram()
			if err != nil {
				t.Fatal(err)
			}
			if h == nil {
				break
			}
			counts[h.Tag()] = append(counts[h.Tag()], h.TotalCount())
		}
		// Nobody was greeted in the first two seconds, but these 100 in the third.
		want := []int64{150, 50, 50, 50, 50, 50, 50, 50}
		for _, tag := range []string{"latency", "service"} {
			if !slices.Equal(counts[tag], want) {
				t.Errorf("%s: counts by second %v, want %v", tag, counts[tag], want)
			}
		}
	})
}
