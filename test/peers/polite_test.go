package peers

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"greetd.example/internal/test/debian"
)

const inNamespace = "GREETPROBE_PEER_IN_NAMESPACE"

// isolated runs the rest of a test in a network namespace of its own, and reports
// whether this is there.
func isolated(t *testing.T) bool {
	t.Helper()
	if os.Getenv(inNamespace) != "" {
		if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
			t.Fatalf("ip link set lo up: %v\n%s", err, out)
		}
		return true
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), inNamespace+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
		t.Errorf("%v\n%s", err, out)
	}
	return false
}

// serve runs a server until the test ends, waits until it greets, and returns the path
// of what it logs to its standard output and error.
func serve(t *testing.T, port, name string, args ...string) (log string) {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(name, args...)
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
			t.Logf("%s said:\n%s", name, read(t, file.Name()))
		}
	})
	if out, err := exec.Command(greetprobe, "--wait", "30s", "127.0.0.1", port).CombinedOutput(); err != nil {
		t.Fatalf("%s does not greet: %s\n%s", name, out, read(t, file.Name()))
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

// MariaDB counts a client that hangs up before its login, and blocks its host in the end.
func TestMariaDB(t *testing.T) {
	needsRoot(t)
	mariadbd := debian.Program(t, "mariadbd", "mariadb-server")
	if !isolated(t) {
		return
	}
	dir := openDir(t)
	data, socket := filepath.Join(dir, "data"), filepath.Join(dir, "s")
	output(t, "mariadb-install-db", "--no-defaults", "--user=mysql", "--datadir="+data, "--skip-test-db", "--auth-root-authentication-method=normal")
	if out, err := exec.Command("chown", "mysql", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	log := serve(t, "3306", mariadbd, "--no-defaults", "--user=mysql", "--datadir="+data, "--socket="+socket,
		"--bind-address=127.0.0.1", "--port=3306", "--log-warnings=1",
		"--max-connect-errors=20", "--pid-file="+filepath.Join(dir, "pid"))
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
	if said := read(t, log); strings.Contains(said, "[Warning] Aborted") || strings.Contains(said, "Access denied") {
		t.Errorf("the log complains:\n%s", said)
	}

	// Without leaving, it is as bad as the issue says; the host is blocked in the end.
	for range 3 {
		probe(t, "--protocol", "plain", "127.0.0.1", "3306")
	}
	if got := sql("SHOW GLOBAL STATUS LIKE 'Aborted_connects_preauth'"); got == "Aborted_connects_preauth\t0" {
		t.Errorf("this MariaDB does not count: %s", got)
	}

	sql("SET GLOBAL max_connections=10")
	hold(t, "127.0.0.1:3306", 12)
	var r result
	for end := time.Now().Add(10 * time.Second); r.Status != "refused_by_server" && time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		r = probe(t, "127.0.0.1", "3306")
	}
	if r.Refusal == nil || r.Refusal.Code != "1040" || !r.Refusal.Temporary || r.Exit != 4 {
		t.Errorf("too many connections: %s, exit %d, %+v", r.Status, r.Exit, r.Refusal)
	}
}

const sshdConfig = `
Port 22
ListenAddress 127.0.0.1
HostKey {DIR}/key
PidFile none
UsePAM no
MaxStartups 2:100:2
LoginGraceTime 30
LogLevel INFO
StrictModes no
`

// sshd logs a client that hangs up before it identified itself as one that is no client.
func TestOpenSSH(t *testing.T) {
	needsRoot(t)
	sshd := debian.Program(t, "sshd", "openssh-server")
	if !isolated(t) {
		return
	}
	dir := t.TempDir()
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		t.Fatal(err)
	}
	output(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, "key"))
	config := fill(t, dir, "sshd_config", sshdConfig, "{DIR}", dir)
	log := serve(t, "22", sshd, "-D", "-e", "-f", config)
	for range 10 {
		r := probe(t, "127.0.0.1", "22")
		if r.Status != "ok" || r.Protocol != "ssh" || r.Software != "OpenSSH" || r.Version == "" {
			t.Fatalf("%s %s, %s %s %s", r.Status, r.Error, r.Protocol, r.Software, r.Version)
		}
	}
	said := read(t, log)
	for _, complaint := range []string{"banner", "identification", "Connection closed", "Connection reset", "Bad packet", "Unable to negotiate", "error:", "fatal:"} {
		if strings.Contains(said, complaint) {
			t.Errorf("the log complains of %q:\n%s", complaint, said)
			break
		}
	}

	// Two clients that don't log in are all that it takes.
	var r result
	for end := time.Now().Add(10 * time.Second); r.Status != "refused_by_server" && time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		hold(t, "127.0.0.1:22", 1) // the probes before may still count
		r = probe(t, "127.0.0.1", "22")
	}
	if r.Refusal == nil || !r.Refusal.Temporary || r.Refusal.Words != "Exceeded MaxStartups" || r.Exit != 4 {
		t.Errorf("beyond MaxStartups: %s %s, exit %d", r.Status, r.Error, r.Exit)
	}
}

const vsftpdConfig = `
listen=YES
listen_address=127.0.0.1
background=NO
anonymous_enable=YES
max_clients=3
secure_chroot_dir=/var/run/vsftpd/empty
vsftpd_log_file={DIR}/log
log_ftp_protocol=YES
dual_log_enable=YES
xferlog_enable=YES
seccomp_sandbox=NO
`

func TestVsftpd(t *testing.T) {
	needsRoot(t)
	vsftpd := debian.Program(t, "vsftpd", "vsftpd")
	if !isolated(t) {
		return
	}
	dir := t.TempDir()
	if err := os.MkdirAll("/var/run/vsftpd/empty", 0o755); err != nil {
		t.Fatal(err)
	}
	config := fill(t, dir, "vsftpd.conf", vsftpdConfig, "{DIR}", dir)
	if err := os.Chmod(config, 0o600); err != nil {
		t.Fatal(err)
	}
	serve(t, "21", vsftpd, config)
	r := probe(t, "127.0.0.1", "21")
	if r.Status != "ok" || r.Protocol != "ftp" || r.Software != "vsFTPd" || r.Version == "" {
		t.Fatalf("%s %s, %s %s %s", r.Status, r.Error, r.Protocol, r.Software, r.Version)
	}
	if said := read(t, filepath.Join(dir, "log")); !strings.Contains(said, `"QUIT"`) || !strings.Contains(said, `"221 Goodbye."`) {
		t.Errorf("the log has no QUIT:\n%s", said)
	}
	hold(t, "127.0.0.1:21", 3)
	for end := time.Now().Add(10 * time.Second); r.Status != "refused_by_server" && time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		r = probe(t, "127.0.0.1", "21")
	}
	if r.Refusal == nil || r.Refusal.Code != "421" || !r.Refusal.Temporary || r.Exit != 4 {
		t.Errorf("too many clients: %s %s, exit %d", r.Status, r.Error, r.Exit)
	}
}
