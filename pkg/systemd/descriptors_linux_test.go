package systemd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// descriptorsFrom is what is open from descriptor first on, each as "number is what".
func descriptorsFrom(first int) (open []string) {
	entries, _ := os.ReadDir("/proc/self/fd")
	for _, e := range entries {
		to, err := os.Readlink("/proc/self/fd/" + e.Name())
		if n, _ := strconv.Atoi(e.Name()); err == nil && n >= first {
			open = append(open, e.Name()+" is "+to)
		}
	}
	return open
}

// unready is a listener that nobody can wait for.
type unready struct{ *net.TCPListener }

func (unready) SetDeadline(time.Time) error { return unix.ENOSPC }

// What is over leaves no descriptor open, and the garbage collection need not close any.
func TestWhatIsOverLeavesNoDescriptors(t *testing.T) {
	m := manage(t, "")
	path := socketPath(t)
	live := bind(t, "unix:"+path+"live", false)
	unlock, err := lock(t.Context(), path+"held.lock")
	must(t, err)
	defer unlock()
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	for name, do := range map[string]func() error{
		"a service": func() error {
			svc, err := Start(t.Context())
			return errors.Join(err, svc.Close())
		},
		"an own number": func() error {
			_, _ = ownPIDFD()
			return nil
		},
		"the wait for a lock": func() error {
			ctx, cancel := context.WithTimeout(t.Context(), 5*lockPause)
			defer cancel()
			if _, err := lock(ctx, path+"held.lock"); !errors.Is(err, context.DeadlineExceeded) {
				return fmt.Errorf("lock: %w", err)
			}
			return nil
		},
		"a stale file": func() error {
			leaveStale(t, path)
			return bind(t, "unix:"+path, false).Remove()
		},
		"a file in use": func() error {
			refused(t, live.Address, unix.EADDRINUSE)
			return nil
		},
		"a group that is none": func() error {
			_, err := bindSocket(t.Context(), ListenConfig{Address: "unix:" + path, Group: "no-such-group"})
			if err == nil || exists(path) {
				return fmt.Errorf("bound, or a file was left: %w", err)
			}
			return nil
		},
		"a socket that can't be waited for": func() error {
			svc := &Service{Wrap: func(ln net.Listener) net.Listener { return unready{ln.(*net.TCPListener)} }}
			_, err := svc.Listen("web", "127.0.0.1:0")
			if !errors.Is(err, unix.ENOSPC) {
				return fmt.Errorf("listen: %w", err)
			}
			return nil
		},
		"a barrier": func() error {
			n := notifier(t)
			return errors.Join(n.Barrier(t.Context()), n.close())
		},
		"an interface": func() error {
			_, err := InterfaceNumber("lo")
			return err
		},
	} {
		must(t, do()) // opens what stays open, as for epoll(7)
		m.Messages()
		before := descriptorsFrom(0)
		for range 3 {
			if err := do(); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		if after := descriptorsFrom(0); len(after) > len(before) {
			t.Errorf("%s: descriptors before %q, after %q", name, before, after)
		}
	}
}

// A child process has none of the descriptors of its parent.
func TestDescriptorsAreCloseOnExec(t *testing.T) {
	svc, _ := start(t)
	path := socketPath(t)
	tcp, err := svc.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	local, err := svc.Listen("local", "unix:"+path)
	must(t, err)
	must(t, svc.AcceptReloads())
	release, err := ReserveUnixPath(t.Context(), path+"2")
	must(t, err)
	defer release()
	shutdown, err := shutdownLater(tcp.current().Listener)
	must(t, err)
	list, err := exec.CommandContext(t.Context(), "ls", "-l", "/proc/self/fd").Output()
	must(t, err)
	if strings.Contains(string(list), "socket:") || strings.Contains(string(list), filepath.Base(path)) {
		t.Errorf("a child has\n%s", list)
	}
	shutdown()
	must(t, errors.Join(tcp.Remove(), local.Remove()))
}

// Who is short of descriptors is not taken for another process.
func TestOwnNumberWithoutDescriptors(t *testing.T) {
	var before unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &before))
	none := before
	none.Cur = 0
	must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &none))
	id, ok := ownPIDFD()
	must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &before))
	if ok {
		t.Errorf("without a descriptor, the process has the number %d", id)
	}
}

// What the fd store kept and does not listen any more is no hindrance to the end.
func TestCloseWithADeadSocket(t *testing.T) {
	svc, _ := start(t)
	svc.passed = append(svc.passed, openSocket{Origin: FDStore, Name: storeName(":99", fileID{})})
	must(t, svc.Close())
}

// Of the sockets that the fd store kept, those go whose port another address needs, and no others.
func TestOnlyWhatIsInTheWayLeavesTheStore(t *testing.T) {
	svc, m := start(t)
	inTheWay, other := bind(t, ":0", false), bind(t, "127.0.0.1:0", false)
	for _, s := range []*openSocket{&inTheWay, &other} {
		s.Origin, s.Name = FDStore, storeName(s.Address, fileID{})
	}
	svc.passed = []openSocket{inTheWay, {Origin: FDStore, Name: "greetd-own/dead"}, other}
	ln, err := svc.Listen("web", "127.0.0.1:"+port(inTheWay))
	must(t, err)
	if !reaches(t, "tcp", other.Addr().String()) {
		t.Error("a socket that is not in the way was ended")
	}
	must(t, svc.Notifier.Barrier(t.Context()))
	var forgotten []string
	for _, message := range m.Messages() {
		if message.Get("FDSTOREREMOVE") == "1" {
			forgotten = append(forgotten, message.Get("FDNAME"))
		}
	}
	if want := []string{inTheWay.Name}; !slices.Equal(forgotten, want) {
		t.Errorf("discarded %q, want %q", forgotten, want)
	}
	must(t, ln.Remove())
}

func TestListenersSayWhetherTheyHaveIPv4Too(t *testing.T) {
	svc, _ := start(t)
	for address, only := range map[string]bool{":0": false, "[::]:0": true, "[::1]:0": false, "0.0.0.0:0": false, "127.0.0.1:0": false} {
		ln, err := svc.Listen("web", address)
		must(t, err)
		if said := strings.HasSuffix(ln.String(), ", IPv6 only)"); said != only || ln.IPv6Only() != only {
			t.Errorf("%s is %s", address, ln)
		}
		must(t, ln.Remove())
	}
}
