package peers

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"greetd.example/internal/test/debian"
)

const sshdConfig = `
Port 22
ListenAddress 127.0.0.1
HostKey {DIR}/key
PidFile none
UsePAM no
LoginGraceTime 30
LogLevel INFO
StrictModes no
`

// complaints are what sshd logs of clients that it does not like.
var complaints = []string{"banner", "identification", "Connection closed", "Connection reset", "Bad packet", "Unable to negotiate", "error:", "fatal:"}

// sshd logs a client that hangs up before it identified itself as one that is no client.
func TestOpenSSH(t *testing.T) {
	needsRoot(t)
	sshd := debian.Program(t, "sshd", "openssh-server")
	debian.Program(t, "/usr/lib/nagios/plugins/check_ssh", "monitoring-plugins-basic")
	if !isolated(t) {
		return
	}
	dir := t.TempDir()
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		t.Fatal(err)
	}
	output(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, "key"))
	config := fill(t, dir, "sshd_config", sshdConfig+"MaxStartups 2:100:2\n", "{DIR}", dir)
	log := serve(t, "22", sshd, "-D", "-e", "-f", config)
	for range 10 {
		r := probe(t, "127.0.0.1", "22")
		if r.Status != "ok" || r.Protocol != "ssh" || r.Software != "OpenSSH" || r.Version == "" {
			t.Fatalf("%s %s, %s %s %s", r.Status, r.Error, r.Protocol, r.Software, r.Version)
		}
	}
	said := read(t, log)
	for _, complaint := range complaints {
		if strings.Contains(said, complaint) {
			t.Errorf("the log complains of %q:\n%s", complaint, said)
			break
		}
	}
	compare(t, "OpenSSH, healthy", "22", "")
	compare(t, "OpenSSH, where SMTP is expected", "22", "smtp", "--protocol", "smtp")
	compare(t, "OpenSSH, where IMAP is expected", "22", "imap", "--protocol", "imap")
	compare(t, "OpenSSH, where FTP is expected", "22", "", "--protocol", "ftp")

	// Two clients that don't log in are all that it takes.
	r := refusing(t, "22", 1)
	if r.Refusal == nil || !r.Refusal.Temporary || r.Refusal.Words != "Exceeded MaxStartups" || r.Exit != 4 {
		t.Errorf("beyond MaxStartups: %s %s, exit %d", r.Status, r.Error, r.Exit)
	}
	compare(t, "OpenSSH, beyond MaxStartups", "22", "")
}

// OpenSSH of Debian 13 counts every client that does not try to log in: a second of penalty for
// each, and a refusal where 15 have accumulated. A client that comes once a second has none.
func TestOpenSSHPenalties(t *testing.T) {
	needsRoot(t)
	const made = "GREETPROBE_PEER_TRIXIE"
	root := os.Getenv(made)
	if root == "" {
		debian.Program(t, "debootstrap", "debootstrap")
		debian.Program(t, "/usr/lib/nagios/plugins/check_ssh", "monitoring-plugins-basic")
		var err error
		if root, err = debian.Root("trixie", "openssh-server"); err != nil {
			t.Fatal(err)
		}
	}
	if !isolated(t, made+"="+root) {
		return
	}
	// What the servers need besides the cached root is in a file system of this namespace.
	for _, dir := range []string{"run", "tmp", "dev"} {
		if err := unix.Mount("tmpfs", filepath.Join(root, dir), "tmpfs", 0, ""); err != nil {
			t.Fatal(err)
		}
	}
	for name, device := range map[string]int{"null": 1<<8 | 3, "urandom": 1<<8 | 9} {
		if err := unix.Mknod(filepath.Join(root, "dev", name), unix.S_IFCHR|0o666, device); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(root, "run/sshd"), 0o755); err != nil {
		t.Fatal(err)
	}
	tmp := filepath.Join(root, "tmp")
	output(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(tmp, "key"))
	sshd := func(t *testing.T, options string) (log string) {
		t.Helper()
		fill(t, tmp, "sshd_config", sshdConfig+options, "{DIR}", "/tmp")
		return serveFor(t, []string{"-z", "127.0.0.1", "22"}, exec.Command("chroot", root, "/usr/sbin/sshd", "-D", "-e", "-f", "/tmp/sshd_config"))
	}
	t.Run("by default", func(t *testing.T) {
		log := sshd(t, "")
		var r result
		count := 0
		for ; r.Status != "refused_by_server" && count < 60; count++ {
			r = probe(t, "127.0.0.1", "22")
		}
		if r.Refusal == nil || !r.Refusal.Temporary || r.Refusal.Words != "Not allowed at this time" || r.Exit != 4 {
			t.Errorf("%s %s, exit %d", r.Status, r.Error, r.Exit)
		}
		if count < 15 {
			t.Errorf("refused after %d probes", count)
		}
		compare(t, "OpenSSH 10, with a penalty for its client", "22", "")
		out, err := exec.Command(greetprobe, "127.0.0.1", "22").CombinedOutput()
		if err == nil || !strings.Contains(string(out), "PerSourcePenaltyExemptList") {
			t.Errorf("no hint: %s", out)
		}
		if said := read(t, log); !strings.Contains(said, "Disconnected from 127.0.0.1") {
			t.Errorf("the log has no word of the probes:\n%s", said)
		}
	})
	t.Run("exempt", func(t *testing.T) {
		log := sshd(t, "PerSourcePenaltyExemptList 127.0.0.1\n")
		for range 60 {
			probe(t, "127.0.0.1", "22").want(t, "SSH-2.0-OpenSSH_10")
		}
		if said := read(t, log); strings.Contains(said, "penalty") {
			t.Errorf("penalties:\n%s", said)
		}
	})
	t.Run("once a second", func(t *testing.T) {
		sshd(t, "PerSourcePenalties min:3s\n")
		out, err := exec.Command(greetprobe, "ping", "-c", "8", "127.0.0.1", "22").CombinedOutput()
		if err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
}
