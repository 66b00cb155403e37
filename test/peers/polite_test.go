package peers

import (
	"bytes"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"greetd.example/internal/test/debian"
)

const inNamespace = "GREETPROBE_PEER_IN_NAMESPACE"

// isolated runs the rest of a test in namespaces of its own for the network, mounts and
// the host name, beside other tests, and reports whether this is there. env is for it.
func isolated(t *testing.T, env ...string) bool {
	t.Helper()
	if os.Getenv(inNamespace) != "" {
		if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
			t.Fatalf("ip link set lo up: %v\n%s", err, out)
		}
		if err := errors.Join(unix.Sethostname([]byte("mail.example")), unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")); err != nil {
			t.Fatal(err)
		}
		return true
	}
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(append(os.Environ(), inNamespace+"="+greetprobe), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWUTS}
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
		t.Errorf("%v\n%s", err, out)
	}
	compared.add(string(out))
	return false
}

// serve runs a server until the test ends, waits until it greets, and returns the path
// of what it logs to its standard output and error.
func serve(t *testing.T, port, name string, args ...string) (log string) {
	t.Helper()
	return serveFor(t, []string{"127.0.0.1", port}, exec.Command(name, args...))
}

// serveFor is serve for a server that is there when greetprobe with the arguments ready
// says so.
func serveFor(t *testing.T, ready []string, cmd *exec.Cmd) (log string) {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = file, file
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		kill := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
		defer kill.Stop()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s said:\n%s", cmd.Path, read(t, file.Name()))
		}
	})
	if out, err := exec.Command(greetprobe, append([]string{"--wait", "30s"}, ready...)...).CombinedOutput(); err != nil {
		t.Fatalf("%s is not there: %s\n%s", cmd.Path, out, read(t, file.Name()))
	}
	return file.Name()
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// output runs a program that must succeed.
func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// hold keeps n connections open until the test ends.
func hold(t *testing.T, addr string, n int) {
	t.Helper()
	for range n {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
	}
}

// refusing holds ever more connections, n at a time, until the server at port refuses its clients
// for that, also when the ones that came before have gone, and returns the last result.
func refusing(t *testing.T, port string, n int) (r result) {
	t.Helper()
	inARow := 0
	for end := time.Now().Add(10 * time.Second); inARow < 4 && time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if r = probe(t, "127.0.0.1", port); r.Status == "refused_by_server" {
			inARow++
			continue
		}
		inARow = 0
		hold(t, "127.0.0.1:"+port, n)
	}
	return r
}

// MariaDB counts a client that hangs up before its login, and blocks its host in the end.
func TestMariaDB(t *testing.T) {
	needsRoot(t)
	mariadbd := debian.Program(t, "mariadbd", "mariadb-server")
	if !isolated(t) {
		return
	}
	dir := openDir(t)
	data, socket := filepath.Join(dir, "data"), filepath.Join(dir, "s")
	ca, cert, key := certificates(t, dir)
	users := fill(t, dir, "users.sql", "CREATE USER probes@'probes.example';\n")
	output(t, "mariadb-install-db", "--no-defaults", "--user=mysql", "--datadir="+data, "--skip-test-db", "--auth-root-authentication-method=normal")
	give(t, "mysql", dir)
	// MariaDB blocks no host that is its own: the probes come from another address too.
	const other = "192.0.2.1"
	output(t, "ip", "address", "add", other+"/32", "dev", "lo")
	hosts := fill(t, dir, "hosts", "127.0.0.1 localhost\n"+other+" probes.example\n")
	if err := unix.Mount(hosts, "/etc/hosts", "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	log := serve(t, "3306", mariadbd, "--no-defaults", "--user=mysql", "--datadir="+data, "--socket="+socket,
		"--bind-address=0.0.0.0", "--port=3306", "--log-warnings=1",
		"--max-connect-errors=20", "--init-file="+users, "--ssl-cert="+cert, "--ssl-key="+key, "--pid-file="+filepath.Join(dir, "pid"))
	sql := func(statement string) string {
		return strings.TrimSpace(output(t, "mariadb", "--no-defaults", "-N", "-uroot", "-S", socket, "-e", statement))
	}

	for range 60 {
		r := probe(t, "127.0.0.1", "3306")
		if r.Status != "ok" || r.Protocol != "mysql" || r.Software != "MariaDB" {
			t.Fatalf("%s %s, %s %s", r.Status, r.Error, r.Protocol, r.Software)
		}
	}
	if got := sql("SHOW GLOBAL STATUS LIKE 'Aborted_connects_preauth'"); got != "Aborted_connects_preauth\t0" {
		t.Errorf("after 60 probes: %s", got)
	}
	probe(t, "--starttls", "mysql", "--ca", ca, "127.0.0.1", "3306").trusted(t, "ok")
	if got := sql("SHOW GLOBAL STATUS LIKE 'Aborted_connects_preauth'"); got != "Aborted_connects_preauth\t0" {
		t.Errorf("after a probe with TLS: %s", got)
	}
	if said := read(t, log); strings.Contains(said, "[Warning] Aborted") || strings.Contains(said, "Access denied") {
		t.Errorf("the log complains:\n%s", said)
	}

	// Without leaving, each is counted.
	for range 3 {
		probe(t, "--protocol", "plain", "127.0.0.1", "3306")
	}
	if got := sql("SHOW GLOBAL STATUS LIKE 'Aborted_connects_preauth'"); got == "Aborted_connects_preauth\t0" {
		t.Errorf("this MariaDB does not count: %s", got)
	}
	compare(t, "MariaDB, healthy", "3306", "mysql")
	probe(t, "--starttls", "mysql", "--ca", ca, "127.0.0.1", "3306").trusted(t, "ok")
	probe(t, "--starttls", "mysql", "127.0.0.1", "3306").fails(t, "tls_failed", "unknown authority")

	// A host that hangs up often enough is blocked, for good.
	sql("SET GLOBAL max_connect_errors=3")
	var r result
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		if r = probe(t, "--protocol", "plain", other, "3306"); strings.Contains(r.Greeting.Text, "is blocked") {
			break
		}
	}
	r = probe(t, other, "3306")
	if r.Refusal == nil || r.Refusal.Code != "1129" || r.Refusal.Temporary || r.Exit != 4 {
		t.Errorf("blocked: %s, exit %d, %+v", r.Status, r.Exit, r.Refusal)
	}
	compare(t, "MariaDB, that blocked the host", other+":3306", "mysql")
	probe(t, "--starttls", "mysql", other, "3306").fails(t, "refused_by_server", "is blocked")
	sql("FLUSH HOSTS; DROP USER probes@'probes.example'")
	r = probe(t, other, "3306")
	if r.Refusal == nil || r.Refusal.Code != "1130" || r.Refusal.Temporary || r.Exit != 4 {
		t.Errorf("host not allowed: %s, exit %d, %+v", r.Status, r.Exit, r.Refusal)
	}
	compare(t, "MariaDB, for other hosts only", other+":3306", "mysql")

	sql("CREATE USER probes@'probes.example'; SET GLOBAL max_connect_errors=1000")
	sql("SET GLOBAL max_connections=10")
	r = refusing(t, "3306", 4)
	if r.Refusal == nil || r.Refusal.Code != "1040" || !r.Refusal.Temporary || r.Exit != 4 {
		t.Errorf("too many connections: %s, exit %d, %+v", r.Status, r.Exit, r.Refusal)
	}
	compare(t, "MariaDB, with too many connections", "3306", "mysql")
}
