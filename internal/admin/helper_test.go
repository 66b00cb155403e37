package admin_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"greetd.example/internal/admin"
	"greetd.example/pkg/systemd"
)

// TestMain lets the test binary stand in for greetd's sub-commands, so that another
// user can run it.
func TestMain(m *testing.M) {
	if address := os.Getenv("ADMIN_TEST_ASK"); address != "" {
		_, err := admin.Dial(address).Status(context.Background())
		fmt.Println(err)
		return
	}
	os.Exit(m.Run())
}

// generous is for what ends at once unless something is wrong.
const generous = time.Minute

// socketDir returns a new directory that everybody may enter, as systemd makes it
// for RuntimeDirectory=.
func socketDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{filepath.Dir(dir), dir} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// listen opens address for the test.
func listen(t *testing.T, address string) net.Listener {
	t.Helper()
	ln, err := admin.Listen(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

// start serves d on a unix socket and a TCP port until the test ends, and returns
// the addresses as Dial takes them.
func start(t *testing.T, d admin.Daemon) (unix, tcp string) {
	t.Helper()
	unix = "unix:" + filepath.Join(socketDir(t), "admin.sock")
	onUnix, onTCP := listen(t, unix), listen(t, "127.0.0.1:0")
	serve(t, d, onUnix, onTCP)
	return unix, onTCP.Addr().String()
}

// serve serves d on the listeners until the test ends, or the server is shut down.
func serve(t *testing.T, d admin.Daemon, listeners ...net.Listener) *admin.Server {
	t.Helper()
	server := admin.New(d)
	ended := make(chan error, len(listeners))
	for _, ln := range listeners {
		go func() { ended <- server.Serve(ln) }()
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), generous)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		for range listeners {
			if err := <-ended; err != nil {
				t.Errorf("Serve: %v", err)
			}
		}
	})
	return server
}

// dial connects to an address as Listen takes it.
func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	network := "tcp"
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", path
	}
	c, err := net.DialTimeout(network, address, generous)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(generous)); err != nil {
		t.Fatal(err)
	}
	return c
}

// An answer is what a test looks at.
type answer struct {
	code   int
	header http.Header
	length int64 // as announced
	body   string
}

// ask sends a request and returns the answer to it.
func ask(t *testing.T, address, method, path, host, body string) answer {
	t.Helper()
	c := dial(t, address)
	fmt.Fprintf(c, "%s %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n%s", method, path, host, len(body), body)
	return read(t, bufio.NewReader(c), method)
}

// read reads the answer to a request with method.
func read(t *testing.T, from *bufio.Reader, method string) answer {
	t.Helper()
	response, err := http.ReadResponse(from, &http.Request{Method: method})
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, response.ContentLength, string(body)}
}

// working fails the test unless the daemon at address answers an honest client, which tries
// again while others of its own process have all the places and were there first.
func working(t *testing.T, address string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), generous)
	defer cancel()
	status, err := admin.Dial(address).Status(ctx)
	for err != nil && strings.Contains(err.Error(), "hung up before it answered") {
		status, err = admin.Dial(address).Status(ctx)
	}
	if err != nil {
		t.Fatalf("an honest client: %v", err)
	}
	if status.State != systemd.Running {
		t.Errorf("state = %q, want %q", status.State, systemd.Running)
	}
}
