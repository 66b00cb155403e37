package limits

import (
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"greetd.example/internal/test/debian"
)

// TestConnectionsFitTheMemory: what the kernel would kill the process for is not allowed.
func TestConnectionsFitTheMemory(t *testing.T) {
	const unit = 256 << 20 // MemoryMax= of greetd.service
	plain, encrypted := Connections(unit, false), Connections(unit, true)
	if plain < 10_000 || plain*memoryOfVisit > unit-baseMemory {
		t.Errorf("%d connections in 256M, want the default of limits.connections and no more than fit", plain)
	}
	if encrypted >= plain || encrypted*memoryOfTLSVisit > unit-baseMemory {
		t.Errorf("%d connections with TLS in 256M, of %d without", encrypted, plain)
	}
	if got := Connections(1<<20, false); got != minConnections {
		t.Errorf("%d connections in 1M, want %d", got, minConnections)
	}
}

func TestApplyMemoryLeavesTheUsersLimit(t *testing.T) {
	before := debug.SetMemoryLimit(123 << 20)
	t.Cleanup(func() { debug.SetMemoryLimit(before) })
	t.Setenv("GOMEMLIMIT", "123MiB")
	group, limit, err := ApplyMemory()
	if group != 0 || limit != 123<<20 || err != nil || debug.SetMemoryLimit(-1) != limit {
		t.Errorf("ApplyMemory = %d, %d, %v, want 0 and what GOMEMLIMIT says", group, limit, err)
	}
}

func TestApplyMemoryFollowsTheControlGroup(t *testing.T) {
	before := debug.SetMemoryLimit(math.MaxInt64)
	t.Cleanup(func() { debug.SetMemoryLimit(before) })
	unset(t, "GOMEMLIMIT")
	group, limit, err := ApplyMemory()
	switch {
	case err != nil:
		debian.Lacking(t, "control groups: %v", err)
	case group == 0 && limit != math.MaxInt64:
		t.Errorf("limit = %d without one of the control group", limit)
	case group != 0 && (limit != int64(float64(group)*goShare) || debug.SetMemoryLimit(-1) != limit):
		t.Errorf("limit = %d of %d", limit, group)
	}
}

func TestUseCPUs(t *testing.T) {
	t.Cleanup(runtime.SetDefaultGOMAXPROCS)
	t.Setenv("GOMAXPROCS", "3")
	runtime.GOMAXPROCS(3)
	UseCPUs(false)
	UseAllCPUs()
	if got := runtime.GOMAXPROCS(0); got != 3 {
		t.Errorf("with GOMAXPROCS=3: %d CPUs", got)
	}

	unset(t, "GOMAXPROCS")
	UseAllCPUs()
	all := runtime.GOMAXPROCS(0)
	UseCPUs(true)
	if got := runtime.GOMAXPROCS(0); got != all {
		t.Errorf("with TLS: %d CPUs of %d", got, all)
	}
	want := all
	if all == 2 {
		want = 1
	}
	UseCPUs(false)
	if got := runtime.GOMAXPROCS(0); got != want {
		t.Errorf("without TLS: %d CPUs of %d, want %d", got, all, want)
	}
}

// TestGrowDescriptorTable looks where the kernel says how large it is.
func TestGrowDescriptorTable(t *testing.T) {
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil || before.Cur < 2048 {
		debian.Lacking(t, "2048 open files, and RLIMIT_NOFILE is %d, %v", before.Cur, err)
	}
	if got := Descriptors(); got != before.Cur {
		t.Errorf("Descriptors = %d, want %d", got, before.Cur)
	}
	GrowDescriptorTable(1024)
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	if size := fieldOf(t, string(status), "FDSize"); size < 1024+ReservedDescriptors {
		t.Errorf("the table has %d slots, want %d", size, 1024+ReservedDescriptors)
	}
}

// fieldOf returns the number of a line of /proc/self/status.
func fieldOf(t *testing.T, status, name string) (number int) {
	t.Helper()
	_, after, _ := strings.Cut(status, name+":")
	if _, err := fmt.Sscan(after, &number); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return number
}

// unset removes a variable until the test ends.
func unset(t *testing.T, name string) {
	t.Helper()
	t.Setenv(name, "") // restores it
	if err := os.Unsetenv(name); err != nil {
		t.Fatal(err)
	}
}

// written is in a page of the program that differs from its file.
var written = "as built"

// TestReleaseStartup: pages of the program are unmapped, and the program goes on with what it has written.
func TestReleaseStartup(t *testing.T) {
	written = strings.Clone("changed")
	mapped := func() (kilobytes int) { // of the code, in proc_pid_smaps(5)
		text, err := os.ReadFile("/proc/self/smaps")
		program, err2 := os.Executable()
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		_, code, _ := strings.Cut(string(text), " r-xp ")
		code, rest, _ := strings.Cut(code, "\nRss:")
		if _, err := fmt.Sscan(rest, &kilobytes); err != nil || !strings.Contains(code, program) {
			t.Fatalf("%v\n%s", err, text)
		}
		return kilobytes
	}
	before := mapped()
	ReleaseStartup()
	after := mapped()
	if after > before*3/4 {
		t.Errorf("%d KiB of the code are mapped after ReleaseStartup, of %d before; want less", after, before)
	}
	if written != "changed" {
		t.Errorf("a variable has its value of the build again: %q", written)
	}
}

// TestReleaseStartupWhenRelocated: distributions build programs as position-independent ones, whose read-only data differs
// from the file. Without it they crash.
func TestReleaseStartupWhenRelocated(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "go", "test", "-count=1", "-buildmode=pie", "-run=^TestReleaseStartup$", "-v", ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: TestReleaseStartup ") {
		t.Errorf("%v\n%s", err, out)
	}
}
