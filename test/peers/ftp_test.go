package peers

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"greetd.example/internal/test/debian"
)

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
	compare(t, "vsftpd, healthy", "21", "ftp")
	if said := read(t, filepath.Join(dir, "log")); !strings.Contains(said, `"QUIT"`) || !strings.Contains(said, `"221 Goodbye."`) {
		t.Errorf("the log has no QUIT:\n%s", said)
	}
	r = refusing(t, "21", 1)
	if r.Refusal == nil || r.Refusal.Code != "421" || !r.Refusal.Temporary || r.Exit != 4 {
		t.Errorf("too many clients: %s %s, exit %d", r.Status, r.Error, r.Exit)
	}
	compare(t, "vsftpd, with too many clients", "21", "ftp")
}

const proftpdConfig = `
ServerType standalone
DefaultAddress 127.0.0.1
UseIPv6 off
UseReverseDNS off
Port {PORT}
User nobody
Group nogroup
PidFile {DIR}/pid{PORT}
ScoreboardFile {DIR}/score{PORT}
SystemLog {DIR}/log
TransferLog none
AuthPAM off
{LIMIT}
`

// Debian's ProFTPD can't be installed beside vsftpd.
func TestProFTPD(t *testing.T) {
	needsRoot(t)
	const unpacked = "GREETPROBE_PEER_PROFTPD"
	root := os.Getenv(unpacked)
	if root == "" {
		root = debian.Unpacked(t, "proftpd-core")
	}
	if !isolated(t, unpacked+"="+root) {
		return
	}
	dir := t.TempDir()
	for _, name := range []string{"upper", "work"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// ftpshut writes /etc/shutmsg, here in a layer above the machine's own /etc.
	if err := unix.Mount("overlay", "/etc", "overlay", 0, "lowerdir=/etc,upperdir="+dir+"/upper,workdir="+dir+"/work"); err != nil {
		t.Fatal(err)
	}
	proftpd := func(port, limit string) {
		config := fill(t, dir, "config"+port, proftpdConfig, "{DIR}", dir, "{PORT}", port, "{LIMIT}", limit)
		serve(t, port, filepath.Join(root, "usr/sbin/proftpd"), "-n", "-c", config)
	}
	proftpd("21", "")
	r := probe(t, "127.0.0.1", "21")
	r.want(t, "220 ProFTPD Server")
	if r.Protocol != "ftp" || r.Software != "ProFTPD" {
		t.Errorf("%s %s", r.Protocol, r.Software)
	}
	if said := read(t, filepath.Join(dir, "log")); strings.Contains(said, "error") || strings.Contains(said, "abort") {
		t.Errorf("the log complains:\n%s", said)
	}
	compare(t, "ProFTPD, healthy", "21", "")

	proftpd("22", "MaxConnectionsPerHost 1 \"Sorry, the maximum number of connections (%m) has been reached\"")
	refusing(t, "22", 1).refuses(t, "530", false)
	compare(t, "ProFTPD, with too many connections", "22", "")

	output(t, filepath.Join(root, "usr/sbin/ftpshut"), "-d", "0", "now")
	// ProFTPD counts in seconds: in that of its shutdown it may greet, announce the end (421) or hang up.
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); {
		if r = probe(t, "127.0.0.1", "21"); r.Refusal != nil && r.Refusal.Code == "500" {
			break
		}
	}
	r.refuses(t, "500", true)
	compare(t, "ProFTPD, going down", "21", "")
}
