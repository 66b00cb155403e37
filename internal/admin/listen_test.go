package admin_test

import (
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"greetd.example/internal/admin"
	"greetd.example/internal/test/debian"
	"greetd.example/pkg/systemd"
)

// umask sets the process's umask for the test.
func umask(t *testing.T, mask int) {
	t.Helper()
	old := syscall.Umask(mask)
	t.Cleanup(func() { syscall.Umask(old) })
}

func TestSocketIsPrivateFromItsFirstMoment(t *testing.T) {
	path := filepath.Join(socketDir(t), "s")
	umask(t, 0)

	stop, seen := make(chan struct{}), make(chan fs.FileMode)
	go func() {
		defer close(seen)
		for {
			select {
			case <-stop:
				return
			default:
			}
			if info, err := os.Lstat(path); err == nil && info.Mode().Perm() != 0o600 {
				seen <- info.Mode()
				return
			}
		}
	}()
	for range 2000 {
		ln, err := admin.Listen("unix:" + path)
		if err != nil {
			t.Fatal(err)
		}
		ln.Close()
	}
	close(stop)
	if mode, ok := <-seen; ok {
		t.Errorf("the socket was seen with mode %v, want 0600 at all times", mode)
	}
}

func TestSocketModeWhateverTheUmask(t *testing.T) {
	for _, mask := range []int{0, 0o022, 0o777} {
		path := filepath.Join(socketDir(t), "s")
		umask(t, mask)
		listen(t, "unix:"+path)
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode(); got != fs.ModeSocket|0o600 {
			t.Errorf("umask %#o: mode = %v, want a socket with 0600", mask, got)
		}
	}
}

func TestOtherUsersMayNotAsk(t *testing.T) {
	if os.Getuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs root, to become nobody")
		}
		debian.Lacking(t, "root, to become nobody")
	}
	dir := socketDir(t)
	address := "unix:" + filepath.Join(dir, "s")
	serve(t, whole(), listen(t, address))
	working(t, address)

	// The test binary's own directory is closed to others.
	command := filepath.Join(dir, "ask")
	copyFile(t, command, "/proc/self/exe")
	const nobody = 65534
	cmd := exec.CommandContext(t.Context(), command)
	cmd.Env = []string{"ADMIN_TEST_ASK=" + address}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	want := "permission denied at " + address + ": use sudo, or become the service's user"
	if got := strings.TrimSpace(string(out)); got != want {
		t.Errorf("nobody was told %q, want %q", got, want)
	}
}

func copyFile(t *testing.T, to, from string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
}

func TestStaleSocketIsReplaced(t *testing.T) {
	path := filepath.Join(socketDir(t), "s")
	crash(t, path)
	serve(t, whole(), listen(t, "unix:"+path))
	working(t, "unix:"+path)
}

// crash leaves at path what a daemon leaves that is killed.
func crash(t *testing.T, path string) {
	t.Helper()
	crashed, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	crashed.(*net.UnixListener).SetUnlinkOnClose(false)
	crashed.Close()
}

func TestStaleSocketIsReplacedByOneDaemonOnly(t *testing.T) {
	path := filepath.Join(socketDir(t), "s")
	want := "listen on unix:" + path + " for admin: address already in use: another daemon listens there; stop it, or choose another path in admin.address"
	for round := range 60 {
		crash(t, path)
		type result struct {
			ln  net.Listener
			err error
		}
		results := make(chan result)
		for range 2 {
			go func() {
				ln, err := admin.Listen("unix:" + path)
				results <- result{ln, err}
			}()
		}
		var listeners []net.Listener
		for range 2 {
			if r := <-results; r.err == nil {
				listeners = append(listeners, r.ln)
			} else if r.err.Error() != want {
				t.Errorf("round %d:\n got %q\nwant %q", round, r.err, want)
			}
		}
		if len(listeners) != 1 {
			t.Errorf("round %d: %d daemons listen on %s, want 1", round, len(listeners), path)
		}
		for _, ln := range listeners {
			ln.Close()
		}
		if left, err := filepath.Glob(path + "*"); len(left) != 0 || err != nil {
			t.Fatalf("round %d: left behind: %q, %v", round, left, err)
		}
	}
}

// The lock that every daemon of greetd's takes on the path, here by somebody who is between
// its look at the stale file and its own bind.
func TestListenWaitsWhileAnotherReplacesTheSocket(t *testing.T) {
	path := filepath.Join(socketDir(t), "s")
	crash(t, path)
	release, err := systemd.ReserveUnixPath(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path + ".lock"); err != nil || info.Mode() != 0o600 {
		t.Errorf("the lock: %v, %v, want mode 0600", info, err)
	}
	listened := make(chan error, 1)
	go func() {
		_, err := admin.Listen("unix:" + path)
		listened <- err
	}()
	select {
	case err := <-listened:
		t.Errorf("Listen did not wait: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	other, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	release()
	if err := <-listened; !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("Listen = %v, want EADDRINUSE", err)
	}
}

func TestCloseRemovesTheSocketOnlyIfItIsItsOwn(t *testing.T) {
	path := filepath.Join(socketDir(t), "s")
	first := listen(t, "unix:"+path)
	first.Close()
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("after Close: %v, want no file", err)
	}

	second := listen(t, "unix:"+path)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	serve(t, whole(), listen(t, "unix:"+path))
	second.Close()
	working(t, "unix:"+path)
}

func TestListenSaysWhatIsWrong(t *testing.T) {
	dir := socketDir(t)
	live := "unix:" + filepath.Join(dir, "live")
	serve(t, whole(), listen(t, live))
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	taken := listen(t, "127.0.0.1:0").Addr().String()

	for _, test := range []struct{ address, want string }{
		{live, "address already in use: another daemon listens there; stop it, or choose another path in admin.address"},
		{"unix:" + filepath.Join(dir, "file"), "there is a file that is not a socket: remove it, or choose another path in admin.address"},
		{"unix:" + filepath.Join(dir, "none", "s"), "no such file or directory: create the directory " + filepath.Join(dir, "none") + " first, or have systemd do it with RuntimeDirectory="},
		{"unix:admin.sock", "the path must be absolute"},
		{"unix:@greetd", "the path must be absolute"},
		{"unix:", "the path must be absolute"},
		{"unix:/" + strings.Repeat("x", 107), "the path has 108 bytes and the kernel takes 107: choose a shorter one"},
		{taken, "address already in use: another program listens there; choose another port in admin.address"},
		{"192.0.2.1:9101", "cannot assign requested address: this machine does not have the address; see ip address"},
		{"9101", "want unix:/path or host:port"},
		{"", "want unix:/path or host:port"},
	} {
		ln, err := admin.Listen(test.address)
		if err == nil {
			ln.Close()
			t.Errorf("Listen(%q) worked, want %q", test.address, test.want)
			continue
		}
		if want := "listen on " + test.address + " for admin: " + test.want; err.Error() != want {
			t.Errorf("Listen(%q):\n got %q\nwant %q", test.address, err, want)
		}
	}
	working(t, live) // nobody took its socket away
	if text, err := os.ReadFile(filepath.Join(dir, "file")); string(text) != "precious" {
		t.Errorf("the file that was in the way has %q, %v", text, err)
	}
}
