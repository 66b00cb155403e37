package listeners

import (
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"greetd.example/pkg/service"
	"greetd.example/pkg/systemd"
)

// A fixture is a Set whose listeners say their name and settings, with what it reported.
type fixture struct {
	*Set
	systemd *systemd.Service
	mu      sync.Mutex
	events  []string
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	s, err := systemd.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{systemd: s}
	f.Set = New(Hooks{
		Serve:  greetByName,
		Opened: func(l *systemd.Listener) { f.note("opened " + l.Name()) },
		Closed: func(l *systemd.Listener) { f.note("closed " + l.Name()) },
	})
	t.Cleanup(func() {
		for _, l := range s.Listeners() {
			_ = l.Remove()
		}
		f.Wait()
		_ = s.Close()
	})
	return f
}

// greetByName greets with the name, and "!" if the settings have Unwrap.
func greetByName(l service.Listener) error {
	defer l.Close()
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		_, _ = io.WriteString(c, l.Name)
		if l.Unwrap != nil {
			_, _ = io.WriteString(c, "!")
		}
		_ = c.Close()
	}
}

func (f *fixture) note(event string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.events = append(f.events, event)
}

// seen returns the events since it was called last.
func (f *fixture) seen() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	defer func() { f.events = nil }()
	return strings.Join(f.events, ", ")
}

func (f *fixture) prepare(t *testing.T, wants ...systemd.ListenConfig) (*systemd.Change, error) {
	t.Helper()
	return f.systemd.Prepare(t.Context(), wants)
}

// follow makes the Set serve wants.
func (f *fixture) follow(t *testing.T, wants ...systemd.ListenConfig) {
	t.Helper()
	change, err := f.prepare(t, wants...)
	if err != nil {
		t.Fatal(err)
	}
	f.Commit(change, settingsOf(wants...))
}

func settingsOf(wants ...systemd.ListenConfig) (settings []service.Listener) {
	for _, want := range wants {
		settings = append(settings, service.Listener{Name: want.Name})
	}
	return settings
}

// port is a port that nobody uses.
func port(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return strconv.Itoa(ln.Addr().(*net.TCPAddr).Port)
}

func greets(t *testing.T, port, want string) {
	t.Helper()
	if got := greeting(port); got != want {
		t.Errorf("port %s greets with %q, want %q", port, got, want)
	}
}

// greeting is what a client hears; "nobody" if it is refused.
func greeting(port string) string {
	c, err := net.Dial("tcp", "127.0.0.1:"+port)
	if err != nil {
		return "nobody"
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	text, _ := io.ReadAll(c)
	return string(text)
}

func TestCommit(t *testing.T) {
	f := newFixture(t)
	first, second, third := port(t), port(t), port(t)
	a, b := systemd.ListenConfig{Name: "a", Address: ":" + first}, systemd.ListenConfig{Name: "b", Address: "127.0.0.1:" + second}
	f.follow(t, a, b)
	greets(t, first, "a")
	greets(t, second, "b")
	if got := f.seen(); got != "opened a, opened b" {
		t.Error(got)
	}

	c := systemd.ListenConfig{Name: "c", Address: ":" + third}
	f.follow(t, b, c)
	greets(t, first, "nobody")
	greets(t, second, "b")
	greets(t, third, "c")
	if got := f.seen(); got != "closed a, opened c" {
		t.Error(got)
	}
	want := []string{"b 127.0.0.1:" + second + " (own bind)", "c [::]:" + third + " (own bind)"}
	var got []string
	for _, l := range f.systemd.Listeners() {
		got = append(got, l.String())
	}
	if !slices.Equal(got, want) {
		t.Errorf("serves %q, want %q", got, want)
	}
}

func TestPreparedIsOpenAndLetsNobodyIn(t *testing.T) {
	f := newFixture(t)
	first := port(t)
	want := systemd.ListenConfig{Name: "a", Address: ":" + first}
	change, err := f.prepare(t, want)
	if err != nil {
		t.Fatal(err)
	}
	received := make(chan string)
	go func() { received <- greeting(first) }()
	select {
	case text := <-received:
		t.Errorf("before Commit, a client hears %q", text)
	case <-time.After(50 * time.Millisecond):
	}
	if got := f.seen(); got != "" {
		t.Errorf("before Commit: %s", got)
	}
	f.Commit(change, settingsOf(want))
	if text := <-received; text != "a" {
		t.Errorf("who waited for Commit hears %q", text)
	}
}

// A failed bind names every listener, and leaves what there was.
func TestRollbackAfterFailedBind(t *testing.T) {
	f := newFixture(t)
	first, second := port(t), port(t)
	a := systemd.ListenConfig{Name: "a", Address: ":" + first}
	f.follow(t, a)
	f.seen()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, err = f.prepare(t, a, systemd.ListenConfig{Name: "b", Address: ":" + second},
		systemd.ListenConfig{Name: "c", Address: taken.Addr().String()}, systemd.ListenConfig{Name: "d", Address: taken.Addr().String()})
	if err == nil || !strings.Contains(err.Error(), "listener c: ") || !strings.Contains(err.Error(), "listener d: ") {
		t.Errorf("error %v, want c and d", err)
	}
	greets(t, first, "a")
	greets(t, second, "nobody")
	if got := f.seen(); got != "" {
		t.Errorf("after Rollback: %s", got)
	}
}

// What had to go, to make room for a listener of the new configuration, comes back with the
// settings that it had.
func TestRollbackBindsEvictedListenerAgain(t *testing.T) {
	for _, failing := range []string{"by the caller", "by a bind"} {
		t.Run(failing, func(t *testing.T) {
			f := newFixture(t)
			first := port(t)
			a := systemd.ListenConfig{Name: "a", Address: ":" + first}
			change, err := f.prepare(t, a)
			if err != nil {
				t.Fatal(err)
			}
			f.Commit(change, []service.Listener{{Name: "a", Unwrap: func(c net.Conn) (net.Conn, error) { return c, nil }}})
			greets(t, first, "a!")
			f.seen()

			narrow := systemd.ListenConfig{Name: "b", Address: "127.0.0.1:" + first}
			if failing == "by the caller" {
				change, err := f.prepare(t, narrow)
				if err != nil {
					t.Fatal(err)
				}
				change.Rollback(t.Context())
			} else if _, err := f.prepare(t, narrow, systemd.ListenConfig{Name: "c", Address: "unix:/nowhere/at/all"}); err == nil {
				t.Fatal("a socket was made nowhere")
			}
			greets(t, first, "a!")
			if got := f.seen(); got != "" {
				t.Error(got)
			}
			select {
			case err := <-f.Broken():
				t.Error(err)
			default:
			}
		})
	}
}

// Where even that fails, greetd must not go on as if it listened there.
func TestRollbackThatFailsIsBroken(t *testing.T) {
	f := newFixture(t)
	first := port(t)
	f.follow(t, systemd.ListenConfig{Name: "a", Address: ":" + first})
	change, err := f.prepare(t, systemd.ListenConfig{Name: "b", Address: "127.0.0.1:" + first})
	if err != nil {
		t.Fatal(err)
	}
	other, err := net.Listen("tcp", "127.0.0.2:"+first)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	change.Rollback(t.Context())
	if err := <-f.Broken(); !strings.HasPrefix(err.Error(), "listener a: ") || !errors.Is(err, syscall.EADDRINUSE) {
		t.Error(err)
	}
}

// An open socket gets another name, and no client notices more than that.
func TestNameChangesOnOpenSocket(t *testing.T) {
	f := newFixture(t)
	first := port(t)
	address := ":" + first
	f.follow(t, systemd.ListenConfig{Name: "old", Address: address})
	f.seen()
	var clients sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if text := greeting(first); text != "old" && text != "new" {
					t.Errorf("a client hears %q", text)
					return
				}
			}
		})
	}
	for _, name := range []string{"new", "old", "new"} {
		f.follow(t, systemd.ListenConfig{Name: name, Address: address})
		greets(t, first, name)
	}
	close(stop)
	clients.Wait()
	if got := f.seen(); got != "closed old, opened new, closed new, opened old, closed old, opened new" {
		t.Error(got)
	}
}

func TestBrokenListener(t *testing.T) {
	f := newFixture(t)
	f.hooks.Serve = func(service.Listener) error { return errors.New("it is over") }
	f.follow(t, systemd.ListenConfig{Name: "a", Address: "127.0.0.1:" + port(t)}, systemd.ListenConfig{Name: "b", Address: "127.0.0.1:" + port(t)})
	f.Wait()
	if err := <-f.Broken(); !strings.HasSuffix(err.Error(), ": it is over") {
		t.Error(err)
	}
}

func TestDrainedListenersAreNotBroken(t *testing.T) {
	f := newFixture(t)
	f.hooks.Serve = func(service.Listener) error { return fmt.Errorf("accept: %w", service.ErrClosed) }
	f.follow(t, systemd.ListenConfig{Name: "a", Address: "127.0.0.1:" + port(t)})
	f.Wait()
	if err := f.Check(); err != nil {
		t.Errorf("Check = %v", err)
	}
	select {
	case err := <-f.Broken():
		t.Error(err)
	default:
	}
}

// A listener that is not served is no secret, whatever its Serve returned.
func TestCheckComparesWithTheConfiguration(t *testing.T) {
	for _, reason := range []error{net.ErrClosed, errors.New("it is over"), nil} {
		f := newFixture(t)
		ended := make(chan struct{})
		serve := f.hooks.Serve
		f.hooks.Serve = func(l service.Listener) error {
			if l.Name == "b" {
				<-ended
				return reason
			}
			return serve(l)
		}
		a := systemd.ListenConfig{Name: "a", Address: "127.0.0.1:" + port(t)}
		b := systemd.ListenConfig{Name: "b", Address: "127.0.0.1:" + port(t)}
		f.follow(t, a, b)
		if err := f.Check(); err != nil {
			t.Errorf("Check = %v while both are served", err)
		}
		close(ended)
		if err := <-f.Broken(); !strings.Contains(err.Error(), "listener b") {
			t.Errorf("broken: %v", err)
		}
		if err := f.Check(); err == nil || !strings.Contains(err.Error(), "listener b") || strings.Contains(err.Error(), "listener a") {
			t.Errorf("Check = %v, want b alone", err)
		}
		f.follow(t, a) // without b, nothing is missing
		if err := f.Check(); err != nil {
			t.Errorf("Check = %v after b was removed", err)
		}
	}
}
