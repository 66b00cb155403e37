package systemd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"greetd.example/internal/test/freeport"
	"greetd.example/pkg/systemd/systemdtest"
)

// beDaemon is a web server as small as they come. It is told by its environment what to
// listen on, and by files what to do.
func beDaemon() int { return Main(runDaemon) }

func runDaemon(_ context.Context, svc *Service) error {
	var listeners []net.Listener
	for name := range strings.FieldsSeq(os.Getenv("TEST_LISTEN")) {
		name, address, _ := strings.Cut(name, "=")
		all, err := svc.ListenAll(ListenConfig{Name: name, Address: address})
		if err != nil {
			return err
		}
		for _, ln := range all {
			listeners = append(listeners, ln)
		}
	}
	dir := os.Getenv("TEST_DIR")
	svc.OnReload(func(context.Context) error {
		if exists(filepath.Join(dir, "bad")) {
			return errors.New("bad configuration")
		}
		return os.WriteFile(filepath.Join(dir, "reloaded"), nil, 0o600)
	})
	svc.Watchdog(func(context.Context) error {
		if exists(filepath.Join(dir, "hang")) {
			return errors.New("it hangs")
		}
		if exists(filepath.Join(dir, "stick")) {
			_ = os.WriteFile(filepath.Join(dir, "stuck"), nil, 0o600)
			select {} // whatever ctx says
		}
		return nil
	})
	if files := svc.Stored("state"); len(files) == 1 {
		text, _ := io.ReadAll(io.NewSectionReader(files[0], 0, 100))
		svc.Status = func() string { return "state " + string(text) }
	} else {
		state, err := memfd("kept")
		if err != nil {
			return err
		}
		if err := svc.Notifier.Store("state", state); err != nil {
			return err
		}
	}
	svc.DrainTimeout = 20 * time.Second
	server := &http.Server{ReadHeaderTimeout: time.Minute}
	server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if slow := r.URL.Query().Get("slow"); slow != "" {
			d, _ := time.ParseDuration(slow)
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
			time.Sleep(d)
		}
		_, _ = io.WriteString(w, "hello")
	})
	return svc.Run(server, listeners...)
}

func memfd(text string) (*os.File, error) {
	fd, err := unix.MemfdCreate("state", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), "state")
	_, err = file.WriteString(text)
	return file, err
}

// testDaemon is a manager for beDaemon, which has not started.
func testDaemon(t *testing.T, u systemdtest.Unit, listen string) (m *systemdtest.Manager, dir string) {
	t.Helper()
	dir = t.TempDir()
	u.Environ = append(u.Environ, roleVariable+"=daemon", "TEST_LISTEN="+listen, "TEST_DIR="+dir, "GORACE=atexit_sleep_ms=0")
	return systemdtest.New(t, u), dir
}

// freeAddress is one that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	ports, err := freeport.Find(1)
	if err != nil {
		t.Fatal(err)
	}
	return freeport.Address(ports[0])
}

func get(t *testing.T, address, query string) error {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute}
	r, err := client.Get("http://" + address + "/" + query)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err == nil && string(body) != "hello" {
		err = fmt.Errorf("got %q", body)
	}
	return err
}

// load asks at address until it is stopped, and then returns how many were answered.
func load(t *testing.T, address string) (stop func() int64) {
	t.Helper()
	var answered atomic.Int64
	var clients sync.WaitGroup
	done := make(chan struct{})
	for range 4 {
		clients.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if err := get(t, address, ""); err != nil {
					t.Error(err)
					return
				}
				answered.Add(1)
			}
		})
	}
	return func() int64 {
		close(done)
		clients.Wait()
		return answered.Load()
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestRestartsAndReloadsLoseNobody(t *testing.T) {
	address := freeAddress(t)
	m, _ := testDaemon(t, systemdtest.Unit{}, "web="+address)
	must(t, m.Start())
	stop := load(t, address)
	for range 10 {
		must(t, m.Restart())
		must(t, m.Reload())
	}
	if n := stop(); n < 10 {
		t.Errorf("only %d were answered", n)
	}
	if got := m.Stored(); !slices.Contains(got, storeName(address, fileID{})) || len(got) != 2 {
		t.Errorf("stored: %q", got)
	}
	if status := last(m, "STATUS"); status != "state kept" {
		t.Errorf("status %q: the memfd did not come back", status)
	}
	must(t, m.Stop())
}

func last(m *systemdtest.Manager, key string) string {
	for _, message := range slices.Backward(m.Messages()) {
		if value := message.Get(key); value != "" {
			return value
		}
	}
	return ""
}

func TestKilledDaemonComesBackOnItsSocket(t *testing.T) {
	address := freeAddress(t)
	m, _ := testDaemon(t, systemdtest.Unit{}, "web="+address)
	must(t, m.Start())
	if err := m.Kill(syscall.SIGKILL); err == nil {
		t.Error("SIGKILL was survived")
	}
	answered := make(chan error, 1)
	go func() { answered <- get(t, address, "") }() // waits in the backlog
	must(t, m.Start())
	must(t, <-answered)
}

func TestWithoutStoreTheSocketGoes(t *testing.T) {
	address := freeAddress(t)
	m, _ := testDaemon(t, systemdtest.Unit{NoStore: true}, "web="+address)
	must(t, m.Start())
	must(t, m.Stop())
	if err := get(t, address, ""); err == nil {
		t.Error("somebody answers")
	}
}

func TestObsoleteSocketsLeaveTheStore(t *testing.T) {
	first, second := freeAddress(t), freeAddress(t)
	m, _ := testDaemon(t, systemdtest.Unit{}, "web="+first+" other="+second)
	must(t, m.Start())
	must(t, m.Stop())
	_, port, _ := net.SplitHostPort(first)
	if got := len(m.Stored()); got != 3 {
		t.Fatalf("stored: %q", m.Stored())
	}
	m.Setenv("TEST_LISTEN", "web=:"+port)
	must(t, m.Start())
	if got, want := m.Stored(), []string{filePrefix + "state", storeName(":"+port, fileID{})}; !slices.Equal(sorted(got), sorted(want)) {
		t.Errorf("stored: %q, want %q", got, want)
	}
	must(t, get(t, first, ""))
	if err := get(t, second, ""); err == nil {
		t.Error("what no Listen asked for still listens")
	}
}

func sorted(list []string) []string {
	list = slices.Clone(list)
	slices.Sort(list)
	return list
}

func socketUnits(t *testing.T, names ...string) (sockets []systemdtest.Socket, addresses []string) {
	t.Helper()
	for _, name := range names {
		file := listening4(t)
		sockets = append(sockets, systemdtest.Socket{Name: name, File: file})
		addresses = append(addresses, addressOfFile(t, file))
	}
	return sockets, addresses
}

func TestSocketUnits(t *testing.T) {
	nowhere := "web=192.0.2.1:1" // binding it would fail
	for name, tc := range map[string]struct {
		passed []string
		listen string
		served bool
		wrong  string // what the daemon says on stderr
	}{
		"by name":           {[]string{"web"}, nowhere, true, ""},
		"two of one name":   {[]string{"web", "web"}, nowhere, true, ""},
		"the only one":      {[]string{"httpd.socket"}, nowhere, true, ""},
		"of another name":   {[]string{"mail"}, nowhere, false, `systemd passed sockets, but none for listener "web": set FileDescriptorName=web in its .socket unit`},
		"one too many":      {[]string{"web", "mail"}, nowhere, false, `systemd passed the socket "mail" (`},
		"two without names": {[]string{"a.socket", "a.socket"}, nowhere, false, `none for listener "web"`},
		"never own bind":    {[]string{"web"}, nowhere + " mail=127.0.0.1:0", false, `none for listener "mail"`},
		"no Listen at all":  {[]string{"web"}, "", false, "no listener: add one, or stop its .socket unit"},
	} {
		t.Run(name, func(t *testing.T) {
			sockets, addresses := socketUnits(t, tc.passed...)
			m, _ := testDaemon(t, systemdtest.Unit{Sockets: sockets}, tc.listen)
			err := m.Start()
			if tc.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), tc.wrong) {
					t.Errorf("error %v, want %q", err, tc.wrong)
				}
				return
			}
			must(t, err)
			for _, address := range addresses {
				must(t, get(t, address, ""))
			}
			must(t, m.Restart())
			for _, name := range m.Stored() {
				if name != filePrefix+"state" {
					t.Errorf("the socket unit's socket was stored as %s", name)
				}
			}
			must(t, m.Stop())
		})
	}
}

func TestFailedReloadEndsToo(t *testing.T) {
	m, dir := testDaemon(t, systemdtest.Unit{}, "web=127.0.0.1:0")
	must(t, m.Start())
	must(t, os.WriteFile(filepath.Join(dir, "bad"), nil, 0o600))
	must(t, m.Reload())
	if exists(filepath.Join(dir, "reloaded")) {
		t.Error("the bad configuration was used")
	}
	must(t, os.Remove(filepath.Join(dir, "bad")))
	for range 20 {
		must(t, m.Signal(syscall.SIGHUP)) // some while others run
	}
	must(t, m.Reload())
	if !exists(filepath.Join(dir, "reloaded")) {
		t.Error("nothing was reloaded")
	}
	must(t, m.Stop())
	inReload := false
	for _, message := range m.Messages() {
		switch {
		case message.Get("RELOADING") == "1" && inReload:
			t.Fatal("two reloads at once")
		case message.Get("RELOADING") == "1", message.Get("READY") == "1", message.Get("STOPPING") == "1":
			inReload = message.Get("RELOADING") == "1"
		}
	}
	if inReload {
		t.Error("a reload without READY=1")
	}
}

func TestWatchdogKillsAHang(t *testing.T) {
	m, dir := testDaemon(t, systemdtest.Unit{Watchdog: time.Second}, "web=127.0.0.1:0")
	must(t, m.Start())
	for range 6 {
		if _, err := m.WaitFor("WATCHDOG", "1"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(200 * time.Millisecond) // more than a WatchdogSec= in all
	}
	must(t, os.WriteFile(filepath.Join(dir, "hang"), nil, 0o600))
	if err := m.Wait(); !errors.Is(err, systemdtest.ErrWatchdog) {
		t.Errorf("ended by %v", err)
	}
}

// A service that has run for a while is restarted as fast as at first.
func TestWaitResetsRestarts(t *testing.T) {
	inbox, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "notify"), Net: "unixgram"})
	must(t, err)
	defer inbox.Close()
	t.Setenv("NOTIFY_SOCKET", inbox.LocalAddr().String())
	outside, err := Start(t.Context()) // the first one starts a goroutine of the runtime, for signals
	must(t, err)
	must(t, outside.Close())
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		svc, err := Start(ctx)
		must(t, err)
		defer svc.Close()
		svc.Status = func() string { return "" }
		go func() { _, _ = svc.Wait(nil) }()
		for range 2 {
			time.Sleep(recovered - 1)
			synctest.Wait()
		}
		cancel()
	})
	var resets int
	must(t, inbox.SetReadDeadline(time.Now().Add(100*time.Millisecond))) // all has been sent
	for b := make([]byte, 4096); ; {
		n, err := inbox.Read(b)
		if err != nil {
			break
		}
		resets += strings.Count(string(b[:n]), "RESTART_RESET=1")
	}
	if resets != 1 {
		t.Errorf("RESTART_RESET=1 was sent %d times in a minute", resets)
	}
}

func TestDrainWithAStuckProof(t *testing.T) {
	address := freeAddress(t)
	m, dir := testDaemon(t, systemdtest.Unit{Watchdog: time.Second}, "web="+address)
	must(t, m.Start())
	slow, err := http.Get("http://" + address + "/?slow=3s")
	must(t, err)
	defer slow.Body.Close()
	must(t, os.WriteFile(filepath.Join(dir, "stick"), nil, 0o600))
	for !exists(filepath.Join(dir, "stuck")) {
		time.Sleep(10 * time.Millisecond)
	}
	must(t, m.Stop())
	if body, err := io.ReadAll(slow.Body); err != nil || string(body) != "hello" {
		t.Errorf("the client that the drain waited for got %q, %v", body, err)
	}
}

func TestDrain(t *testing.T) {
	address := freeAddress(t)
	m, _ := testDaemon(t, systemdtest.Unit{}, "web="+address)
	must(t, m.Start())
	slow, faster := make(chan error, 1), make(chan error, 1)
	go func() { slow <- get(t, address, "?slow=3s") }()
	go func() { faster <- get(t, address, "?slow=1500ms") }()
	time.Sleep(500 * time.Millisecond)
	must(t, m.Stop())
	must(t, <-slow)
	must(t, <-faster)
	if last(m, "STOPPING") != "1" || last(m, "EXTEND_TIMEOUT_USEC") != "25000000" {
		t.Errorf("told %v", m.Messages())
	}
}

func TestSecondSignalCuts(t *testing.T) {
	address := freeAddress(t)
	m, _ := testDaemon(t, systemdtest.Unit{}, "web="+address)
	must(t, m.Start())
	slow := make(chan error, 1)
	go func() { slow <- get(t, address, "?slow=1m") }()
	time.Sleep(500 * time.Millisecond)
	must(t, m.Signal(syscall.SIGTERM))
	if _, err := m.WaitFor("STOPPING", "1"); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	must(t, m.Stop())
	if err := <-slow; err == nil {
		t.Error("the second signal cut nobody")
	}
	if took := time.Since(began); took > 15*time.Second { // DrainTimeout is 20 s
		t.Errorf("the second signal cut after %s", took)
	}
}

// start is a Service in this process, with m as its manager.
func start(t *testing.T) (*Service, *systemdtest.Manager) {
	t.Helper()
	m := systemdtest.New(t, systemdtest.Unit{})
	t.Setenv("NOTIFY_SOCKET", m.Address())
	svc, err := Start(t.Context())
	must(t, err)
	t.Cleanup(func() { _ = svc.Close() })
	svc.Report = func(err error) { t.Log(err) }
	return svc, m
}

func TestBarrier(t *testing.T) {
	svc, m := start(t)
	for range 100 {
		must(t, svc.Notifier.Status("x"))
	}
	must(t, svc.Notifier.Barrier(t.Context()))
	if got := len(m.Messages()); got != 101 {
		t.Errorf("after the barrier, %d of 101 messages were read", got)
	}
	t.Setenv("NOTIFY_SOCKET", "@greetd-test-mute")
	mute, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: "@greetd-test-mute", Net: "unixgram"})
	must(t, err)
	defer mute.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := notifier(t).Barrier(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error: %v", err)
	}
}

func TestStoreDescriptorRefusesNames(t *testing.T) {
	svc, m := start(t)
	for _, name := range []string{"", "a:b", "a b", "ä", strings.Repeat("x", 242)} {
		if err := svc.Notifier.Store(name, os.Stdin); err == nil || !strings.Contains(err.Error(), "printable ASCII") {
			t.Errorf("%q: %v", name, err)
		}
	}
	if err := svc.Notifier.Discard("a:b"); err == nil {
		t.Error("a name that can't be stored was discarded")
	}
	must(t, svc.Notifier.Store(strings.Repeat("x", 241), os.Stdin))
	must(t, svc.Notifier.Discard(strings.Repeat("x", 241)))
	must(t, svc.Notifier.Barrier(t.Context()))
	if got := m.Stored(); len(got) != 0 {
		t.Errorf("stored: %q", got)
	}
}

// serveAll accepts on l, greets with its name, and sends why it ended.
func serveAll(l *Listener) <-chan error {
	ended := make(chan error, 1)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				ended <- err
				return
			}
			_, _ = io.WriteString(c, l.Name())
			_ = c.Close()
		}
	}()
	return ended
}

func commit(t *testing.T, svc *Service, configs ...ListenConfig) (opened, ended []*Listener) {
	t.Helper()
	c, err := svc.Prepare(t.Context(), configs)
	must(t, err)
	return c.Commit()
}

func TestChangeKeepsRenamedSockets(t *testing.T) {
	svc, m := start(t)
	address := freeAddress(t)
	opened, ended := commit(t, svc, ListenConfig{Name: "old", Address: address}, ListenConfig{Name: "gone", Address: "127.0.0.1:0"})
	if len(opened) != 2 || len(ended) != 0 {
		t.Fatalf("opened %v, ended %v", opened, ended)
	}
	old, gone := serveAll(opened[0]), serveAll(opened[1])
	if got := hear(t, "tcp", address); got != "old" {
		t.Errorf("got %q", got)
	}
	renamed, ended := commit(t, svc, ListenConfig{Name: "new", Address: address})
	if len(renamed) != 1 || len(ended) != 2 {
		t.Fatalf("opened %v, ended %v", renamed, ended)
	}
	for _, why := range []<-chan error{old, gone} {
		if err := <-why; !errors.Is(err, net.ErrClosed) {
			t.Errorf("ended by %v", err)
		}
	}
	waits := make(chan string, 1)
	go func() { waits <- hear(t, "tcp", address) }()
	time.Sleep(50 * time.Millisecond) // in the backlog, most likely
	serveAll(renamed[0])
	if got := <-waits; got != "new" {
		t.Errorf("got %q", got)
	}
	if opened, ended := commit(t, svc, ListenConfig{Name: "new", Address: address}); opened != nil || ended != nil {
		t.Errorf("nothing has changed, but %v opened and %v ended", opened, ended)
	}
	must(t, svc.Notifier.Barrier(t.Context()))
	if got := m.Stored(); !slices.Equal(got, []string{storeName(address, fileID{})}) {
		t.Errorf("stored: %q", got)
	}
	must(t, renamed[0].Remove())
}

func TestRollbackAndRefusedChangesLeaveAllAsItWas(t *testing.T) {
	svc, m := start(t)
	address := freeAddress(t)
	_, port, _ := net.SplitHostPort(address)
	opened, _ := commit(t, svc, ListenConfig{Name: "all", Address: ":" + port})
	why := serveAll(opened[0])

	// 127.0.0.1 can only be bound when all addresses are free.
	c, err := svc.Prepare(t.Context(), []ListenConfig{{Name: "one", Address: address}})
	must(t, err)
	if _, err := svc.Prepare(t.Context(), nil); err == nil {
		t.Error("two changes at once")
	}
	c.Rollback(t.Context())
	if got := hear(t, "tcp", address); got != "all" {
		t.Errorf("after Rollback, got %q", got)
	}
	_, err = svc.Prepare(t.Context(), []ListenConfig{{Name: "one", Address: address}, {Name: "no", Address: "192.0.2.1:1"}, {Name: "nor", Address: "unix:x"}})
	if failed, ok := errors.AsType[*BindError](err); !ok || failed.Name != "no" || !strings.Contains(err.Error(), "listener nor: ") {
		t.Errorf("error: %v", err)
	}
	if got := hear(t, "tcp", address); got != "all" {
		t.Errorf("after an error, got %q", got)
	}
	select {
	case err := <-why:
		t.Errorf("it ended: %v", err)
	default:
	}
	must(t, svc.Notifier.Barrier(t.Context()))
	if got := m.Stored(); !slices.Equal(got, []string{storeName(":"+port, fileID{})}) {
		t.Errorf("stored: %q", got)
	}

	c, err = svc.Prepare(t.Context(), []ListenConfig{{Name: "one", Address: address}})
	must(t, err)
	one, ended := c.Commit()
	if len(one) != 1 || !slices.Equal(ended, opened) {
		t.Fatalf("opened %v, ended %v", one, ended)
	}
	if err := <-why; !errors.Is(err, net.ErrClosed) {
		t.Errorf("ended by %v", err)
	}
	must(t, one[0].Remove())
}

func TestRollbackInVain(t *testing.T) {
	svc, _ := start(t)
	address := freeAddress(t)
	_, port, _ := net.SplitHostPort(address)
	opened, _ := commit(t, svc, ListenConfig{Name: "all", Address: ":" + port})
	why := serveAll(opened[0])
	c, err := svc.Prepare(t.Context(), []ListenConfig{{Name: "one", Address: address}})
	must(t, err)
	for _, socket := range c.bound {
		must(t, socket.Close())
	}
	thief, err := net.Listen("tcp", address)
	must(t, err)
	defer thief.Close()
	c.Rollback(t.Context())
	if err := <-why; !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("ended by %v", err)
	}
}

func TestPermissionsAndBacklog(t *testing.T) {
	svc, _ := start(t)
	path := socketPath(t)
	config := ListenConfig{Name: "local", Address: "unix:" + path, Mode: 0o640, Group: strconv.Itoa(os.Getgid()), Backlog: 3}
	opened, _ := commit(t, svc, config)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("mode = %v, %v", info.Mode(), err)
	}
	config.Mode = 0o600
	if more, ended := commit(t, svc, config); more != nil || ended != nil {
		t.Errorf("opened %v, ended %v", more, ended)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("after a reload, mode = %v, %v", info.Mode(), err)
	}
	config.Group = "no-such-group"
	if _, err := svc.Prepare(t.Context(), []ListenConfig{config}); err == nil || !strings.Contains(err.Error(), `there is no group "no-such-group"`) {
		t.Errorf("error: %v", err)
	}
	must(t, opened[0].Remove())
}

// TCP_DEFER_ACCEPT comes and goes with the configuration.
func TestDeferAccept(t *testing.T) {
	svc, _ := start(t)
	address := freeAddress(t)
	for _, wanted := range []bool{false, true, false, true} {
		commit(t, svc, ListenConfig{Name: "greet", Address: address, DeferAccept: wanted})
		if got := isDeferred(t, svc.Listeners()[0]); got != wanted {
			t.Errorf("TCP_DEFER_ACCEPT = %v after a change, want %v", got, wanted)
		}
	}
	must(t, svc.Listeners()[0].Remove())
	ln, err := svc.ListenWith(ListenConfig{Name: "greet", Address: address, DeferAccept: true})
	must(t, err)
	if !isDeferred(t, ln) {
		t.Error("ListenWith did not set TCP_DEFER_ACCEPT")
	}
	must(t, ln.Remove())
}

func isDeferred(t *testing.T, ln *Listener) bool {
	t.Helper()
	var seconds int
	must(t, control(ln, func(fd int) (err error) {
		seconds, err = unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT)
		return err
	}))
	return seconds > 0
}

// Outside systemd it binds by itself, and the rest does nothing.
func TestOutsideSystemd(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	ctx, cancel := context.WithCancel(t.Context())
	svc, err := Start(ctx)
	must(t, err)
	defer svc.Close()
	svc.Watchdog(func(context.Context) error { t.Error("nobody watches"); return nil })
	ln, err := svc.Listen("web", "127.0.0.1:0")
	must(t, err)
	if ln.Origin() != OwnBind || ln.String() != "web "+ln.Addr().String()+" (own bind)" {
		t.Errorf("got %s", ln)
	}
	if err := svc.Reload(ctx); !errors.Is(err, ErrNotRunning) {
		t.Errorf("reload before Ready: %v", err)
	}
	ended := make(chan error)
	go func() {
		ended <- svc.Run(&http.Server{ReadHeaderTimeout: time.Minute, Handler: http.NotFoundHandler()}, ln)
	}()
	for svc.State() != Running {
		time.Sleep(time.Millisecond)
	}
	must(t, svc.Reload(ctx))
	cancel()
	must(t, <-ended)
	if err := svc.Reload(ctx); !errors.Is(err, ErrNotRunning) || !strings.Contains(err.Error(), "the service is draining") {
		t.Errorf("reload after the end: %v", err)
	}
}

func TestRunEndsWithABrokenListener(t *testing.T) {
	svc, _ := start(t)
	well, err := svc.Listen("well", "127.0.0.1:0")
	must(t, err)
	ill, err := svc.Listen("ill", "127.0.0.1:0")
	must(t, err)
	broken := errors.New("broken")
	err = svc.Run(&http.Server{ReadHeaderTimeout: time.Minute}, well, brokenListener{ill, broken})
	if !errors.Is(err, broken) {
		t.Errorf("ended by %v", err)
	}
}

type brokenListener struct {
	net.Listener
	err error
}

func (b brokenListener) Accept() (net.Conn, error) { return nil, b.err }

func TestRequestReloadWaitsForTheResult(t *testing.T) {
	svc, _ := start(t)
	bad := errors.New("page.html: permission denied")
	results := []error{nil, bad}
	svc.OnReload(func(context.Context) error {
		time.Sleep(50 * time.Millisecond)
		result := results[0]
		results = results[1:]
		return result
	})
	t.Setenv("MAINPID", strconv.Itoa(os.Getpid()))
	if err := RequestReload(t.Context()); err == nil || !strings.Contains(err.Error(), "it must call AcceptReloads") {
		t.Errorf("error: %v", err)
	}
	must(t, svc.AcceptReloads())
	if err := RequestReload(t.Context()); err == nil || err.Error() != "nothing was reloaded: the service is starting" {
		t.Errorf("error: %v", err)
	}
	must(t, svc.Ready())
	must(t, RequestReload(t.Context()))
	if err := RequestReload(t.Context()); err == nil || err.Error() != bad.Error() {
		t.Errorf("error: %v", err)
	}
	t.Setenv("MAINPID", "")
	if err := RequestReload(t.Context()); err == nil || !strings.Contains(err.Error(), "ExecReload=") {
		t.Errorf("error: %v", err)
	}
}

func TestAbstractSocketIsKept(t *testing.T) {
	svc, m := start(t)
	const address = "unix:@greetd-test-abstract"
	l, err := svc.Listen("local", address)
	must(t, err)
	serveAll(l)
	if got := hear(t, "unix", strings.TrimPrefix(address, "unix:")); got != "local" || l.Address() != address || l.Lost() {
		t.Errorf("heard %q on %s, lost: %t", got, l.Address(), l.Lost())
	}
	must(t, svc.Notifier.Barrier(t.Context()))
	if got := m.Stored(); !slices.Equal(got, []string{storeName(address, fileID{})}) {
		t.Errorf("stored: %q", got)
	}
	must(t, l.Remove())
	if reaches(t, "unix", strings.TrimPrefix(address, "unix:")) {
		t.Error("removed, and still there")
	}
}

// Whatever takes the place of a socket's file, Prepare binds the socket again or says why not.
func TestDeletedSocketFileIsBoundAgain(t *testing.T) {
	svc, m := start(t)
	path := socketPath(t)
	config := ListenConfig{Name: "local", Address: "unix:" + path}
	opened, _ := commit(t, svc, config)
	why := serveAll(opened[0])
	if opened[0].Lost() {
		t.Fatal("lost from the beginning")
	}

	must(t, os.Remove(path))
	if !opened[0].Lost() {
		t.Fatal("nobody notices that the file is gone")
	}
	again, ended := commit(t, svc, config)
	if len(again) != 1 || len(ended) != 1 {
		t.Fatalf("opened %v, ended %v", again, ended)
	}
	if err := <-why; !errors.Is(err, net.ErrClosed) {
		t.Errorf("ended by %v", err)
	}
	serveAll(again[0])
	if got := hear(t, "unix", path); got != "local" {
		t.Errorf("heard %q", got)
	}
	must(t, svc.Notifier.Barrier(t.Context()))
	if got := m.Stored(); len(got) != 1 {
		t.Errorf("stored: %q", got)
	}

	must(t, os.Remove(path))
	must(t, os.WriteFile(path, nil, 0o600))
	if _, err := svc.Prepare(t.Context(), []ListenConfig{config}); err == nil || !strings.Contains(err.Error(), "is not a socket") {
		t.Errorf("beside another file: %v", err)
	}
	must(t, again[0].Remove())
}

// A start that fails for good closes what the fd store kept, leaves socket units alone, and waits for a repair only while a
// client waits there.
func TestAwaitRepair(t *testing.T) {
	kept, passed := bind(t, "127.0.0.1:0", false), bind(t, "127.0.0.1:0", false)
	kept.Origin, passed.Origin = FDStore, SocketUnit
	svc := &Service{passed: []openSocket{kept, passed}, signals: make(chan os.Signal, 2)}
	copied := duplicateListener(t, kept)
	asked := 0
	waited := func(repaired int) (waited bool) {
		t.Helper()
		asked = 0
		svc.AwaitRepair(t.Context(), func() { waited = true }, func() bool { asked++; return asked == repaired })
		return waited
	}
	if waited(1) || asked > 0 {
		t.Error("it waits, and no client does")
	}
	if reaches(t, "tcp", copied.Addr().String()) {
		t.Error("systemd's copy still listens")
	}
	c, err := net.Dial("tcp", passed.Addr().String())
	must(t, err)
	defer c.Close()
	svc.signals <- syscall.SIGHUP
	svc.signals <- syscall.SIGHUP
	if !waited(2) || asked != 2 {
		t.Errorf("a client waits: asked %d times, want 2", asked)
	}
	svc.signals <- syscall.SIGTERM
	if !waited(1) || asked != 0 {
		t.Errorf("after SIGTERM: asked %d times, want 0", asked)
	}
	must(t, svc.passed[0].Close())
}

func duplicateListener(t *testing.T, s openSocket) net.Listener {
	t.Helper()
	file, err := s.Listener.(*net.TCPListener).File()
	must(t, err)
	defer file.Close()
	ln, err := net.FileListener(file)
	must(t, err)
	t.Cleanup(func() { _ = ln.Close() })
	return ln
}

func TestPause(t *testing.T) {
	svc := &Service{signals: make(chan os.Signal, 1)}
	if !svc.pause(t.Context(), time.Nanosecond) {
		t.Error("it stops after a pause")
	}
	for sig, goesOn := range map[syscall.Signal]bool{syscall.SIGHUP: true, syscall.SIGTERM: false} {
		svc.signals <- sig
		if svc.pause(t.Context(), time.Hour) != goesOn {
			t.Errorf("%v: goes on: %t", sig, !goesOn)
		}
	}
}

// A change that is refused or rolled back leaves the file of a kept socket as it was.
func TestRollbackRestoresPermissions(t *testing.T) {
	svc, _ := start(t)
	path := socketPath(t)
	config := ListenConfig{Name: "local", Address: "unix:" + path, Mode: 0o640}
	opened, _ := commit(t, svc, config)
	mode := func() os.FileMode {
		info, err := os.Lstat(path)
		must(t, err)
		return info.Mode().Perm()
	}
	config.Mode = 0o666
	change, err := svc.Prepare(t.Context(), []ListenConfig{config})
	must(t, err)
	if got := mode(); got != 0o666 {
		t.Errorf("prepared: mode %#o", got)
	}
	change.Rollback(t.Context())
	if got := mode(); got != 0o640 {
		t.Errorf("rolled back: mode %#o", got)
	}
	if _, err := svc.Prepare(t.Context(), []ListenConfig{config, {Name: "no", Address: "192.0.2.1:1"}}); err == nil {
		t.Fatal("bound an address of nobody")
	}
	if got := mode(); got != 0o640 {
		t.Errorf("refused: mode %#o", got)
	}
	must(t, opened[0].Remove())
}
