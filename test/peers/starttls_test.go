package peers

import (
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"greetd.example/internal/test/debian"
)

// as returns a command that runs as a user, in a directory that is theirs.
func as(t *testing.T, name, dir, program string, args ...string) *exec.Cmd {
	t.Helper()
	owner, err := user.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.Atoi(owner.Uid)
	gid, _ := strconv.Atoi(owner.Gid)
	cmd := exec.Command(program, args...)
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	return cmd
}

// give gives files to a user, whom their directory lets in.
func give(t *testing.T, name string, paths ...string) {
	t.Helper()
	output(t, "chown", append([]string{"-R", name}, paths...)...)
}

// trusted checks that r is well, and has come by a certificate that is trusted.
func (r result) trusted(t *testing.T, status string) {
	t.Helper()
	if r.Status != status || r.TLS == nil || !r.TLS.Verified {
		t.Errorf("%s in phase %s: %s, TLS = %+v; want %s", r.Status, r.Phase, r.Error, r.TLS, status)
	}
}

// PostgreSQL waits for its client, and answers one that asks for TLS with one byte.
func TestPostgreSQL(t *testing.T) {
	needsRoot(t)
	debian.Program(t, "pg_createcluster", "postgresql")
	if !isolated(t) {
		return
	}
	versions, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil || len(versions) == 0 {
		t.Fatalf("no PostgreSQL: %v", err)
	}
	programs := versions[len(versions)-1]
	dir := openDir(t)
	ca, cert, key := certificates(t, dir)
	data := filepath.Join(dir, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	give(t, "postgres", data, cert, key)
	if out, err := as(t, "postgres", dir, filepath.Join(programs, "initdb"), "--no-sync", "-A", "trust", "-D", data).CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	postgres := func(t *testing.T, settings ...string) (log string) {
		t.Helper()
		args := []string{"-D", data, "-k", data, "-h", "127.0.0.1", "-F", "-c", "log_connections=on"}
		for _, setting := range settings {
			args = append(args, "-c", setting)
		}
		return serveFor(t, []string{"-z", "127.0.0.1", "5432"}, as(t, "postgres", dir, filepath.Join(programs, "postgres"), args...))
	}
	t.Run("with TLS", func(t *testing.T) {
		log := postgres(t, "ssl=on", "ssl_cert_file="+cert, "ssl_key_file="+key)
		for range 5 {
			probe(t, "--starttls", "postgres", "--ca", ca, "127.0.0.1", "5432").trusted(t, "ok")
		}
		probe(t, "--starttls", "postgres", "127.0.0.1", "5432").fails(t, "tls_failed", "unknown authority")
		if said := read(t, log); strings.Contains(said, "incomplete startup packet") || strings.Contains(said, "SSL SYSCALL") {
			t.Errorf("the log complains:\n%s", said)
		}
	})
	t.Run("without TLS", func(t *testing.T) {
		postgres(t)
		probe(t, "--starttls", "postgres", "127.0.0.1", "5432").fails(t, "tls_failed", "the server does not offer TLS")
	})
}

const slapdConfig = `
include /etc/ldap/schema/core.schema
pidfile {DIR}/pid
modulepath /usr/lib/ldap
moduleload back_mdb
loglevel stats
{TLS}
database mdb
suffix dc=example
directory {DIR}
`

// slapd waits for its client, and has TLS by an extended request.
func TestSlapd(t *testing.T) {
	needsRoot(t)
	slapd := debian.Program(t, "slapd", "slapd")
	if !isolated(t) {
		return
	}
	dir := openDir(t)
	ca, cert, key := certificates(t, dir)
	give(t, "openldap", dir)
	ldap := func(t *testing.T, tls string) (log string) {
		t.Helper()
		config := fill(t, dir, "slapd.conf", slapdConfig, "{DIR}", dir, "{TLS}", tls)
		return serveFor(t, []string{"-z", "127.0.0.1", "389"},
			exec.Command(slapd, "-d", "stats", "-u", "openldap", "-g", "openldap", "-f", config, "-h", "ldap://127.0.0.1"))
	}
	t.Run("with TLS", func(t *testing.T) {
		log := ldap(t, "TLSCertificateFile "+cert+"\nTLSCertificateKeyFile "+key)
		probe(t, "--starttls", "ldap", "--ca", ca, "127.0.0.1", "389").trusted(t, "ok")
		probe(t, "--starttls", "ldap", "127.0.0.1", "389").fails(t, "tls_failed", "unknown authority")
		if said := read(t, log); !strings.Contains(said, "TLS established") {
			t.Errorf("the log has no TLS:\n%s", said)
		}
	})
	t.Run("without TLS", func(t *testing.T) {
		ldap(t, "")
		probe(t, "--starttls", "ldap", "127.0.0.1", "389").fails(t, "tls_failed", "the server refused StartTLS with result code")
	})
}

const prosodyConfig = `
pidfile = "{DIR}/pid"
data_path = "{DIR}"
daemonize = false
log = { info = "*console" }
interfaces = { "127.0.0.1" }
c2s_ports = { 5222 }
modules_enabled = { "tls"; "saslauth" }
modules_disabled = { "s2s"; {DISABLED} }
certificates = "{DIR}"
authentication = "internal_hashed"
VirtualHost "mail.example"
	ssl = { certificate = "{CERT}"; key = "{KEY}" }
`

// Prosody waits for its client's stream.
func TestProsody(t *testing.T) {
	needsRoot(t)
	prosody := debian.Program(t, "prosody", "prosody")
	if !isolated(t) {
		return
	}
	dir := openDir(t)
	ca, cert, key := certificates(t, dir)
	give(t, "prosody", dir)
	xmpp := func(t *testing.T, disabled string) (log string) {
		t.Helper()
		config := fill(t, dir, "prosody.cfg.lua", prosodyConfig, "{DIR}", dir, "{CERT}", cert, "{KEY}", key, "{DISABLED}", disabled)
		return serveFor(t, []string{"-z", "127.0.0.1", "5222"}, as(t, "prosody", dir, prosody, "--config", config, "-F"))
	}
	t.Run("with TLS", func(t *testing.T) {
		log := xmpp(t, "")
		probe(t, "--starttls", "xmpp", "--sni", "mail.example", "--ca", ca, "127.0.0.1", "5222").trusted(t, "ok")
		probe(t, "--starttls", "xmpp", "--sni", "mail.example", "127.0.0.1", "5222").fails(t, "tls_failed", "unknown authority")
		probe(t, "--starttls", "xmpp", "--sni", "other.example", "127.0.0.1", "5222").fails(t, "tls_failed", "host-unknown")
		if said := read(t, log); strings.Contains(said, " error\t") || strings.Contains(said, " warn\t") {
			t.Errorf("the log complains:\n%s", said)
		}
	})
	t.Run("without TLS", func(t *testing.T) {
		xmpp(t, `"tls"`)
		probe(t, "--starttls", "xmpp", "--sni", "mail.example", "127.0.0.1", "5222").fails(t, "tls_failed", "No stream features to proceed with")
	})
}

const innConfig = `
mta: "/bin/true"
organization: test
ovmethod: tradindexed
hismethod: hisv6
pathhost: mail.example
domain: example
pathnews: {ROOT}/usr/lib/news
pathdb: {DIR}
pathetc: {DIR}
pathlog: {DIR}
pathrun: {DIR}
pathspool: {DIR}
pathtmp: {DIR}
tlscafile: {CA}
tlscertfile: {CERT}
tlskeyfile: {KEY}
`

const innReaders = `
auth here { hosts: "127.0.0.1" default: <user> }
access here { users: <user> newsgroups: * }
`

// INN's reader daemon greets with the words of RFC 3977.
func TestINN(t *testing.T) {
	needsRoot(t)
	const unpacked = "GREETPROBE_PEER_INN"
	root := os.Getenv(unpacked)
	if root == "" {
		root = debian.Unpacked(t, "inn2", "inn2-inews") // the second has a library of both
	}
	if !isolated(t, unpacked+"="+root) {
		return
	}
	dir := openDir(t)
	ca, cert, key := certificates(t, dir)
	lib := filepath.Join(root, "usr/lib/news")
	fill(t, dir, "active", "test 0000000000 0000000001 y\n")
	fill(t, dir, "storage.conf", "method tradspool {\n class: 0\n newsgroups: *\n}\n")
	config := fill(t, dir, "inn.conf", innConfig, "{ROOT}", root, "{DIR}", dir, "{CA}", ca, "{CERT}", cert, "{KEY}", key)
	if err := os.Mkdir(filepath.Join(dir, "overview"), 0o755); err != nil {
		t.Fatal(err)
	}
	give(t, "news", dir)
	inn := []string{"INNCONF=" + config, "LD_LIBRARY_PATH=" + lib}
	nnrpd := func(port, readers string) {
		cmd := exec.Command(filepath.Join(lib, "bin/nnrpd"), "-D", "-f", "-p", port, "-c", fill(t, dir, "readers"+port, readers))
		cmd.Env = append(os.Environ(), inn...)
		serveFor(t, []string{"-z", "127.0.0.1", port}, cmd)
	}
	nnrpd("119", innReaders)
	compare(t, "INN, without its overview", "119", "nntp")

	overview := as(t, "news", dir, filepath.Join(lib, "bin/makehistory"), "-O", "-x", "-F")
	overview.Env = append(os.Environ(), inn...)
	if out, err := overview.CombinedOutput(); err != nil {
		t.Fatalf("makehistory: %v\n%s", err, out)
	}
	r := probe(t, "127.0.0.1", "119")
	r.want(t, "200 ")
	if r.Protocol != "nntp" || r.Software != "InterNetNews" || r.Version == "" {
		t.Errorf("%s %s %s", r.Protocol, r.Software, r.Version)
	}
	probe(t, "--starttls", "nntp", "--ca", ca, "127.0.0.1", "119").trusted(t, "ok")
	probe(t, "--starttls", "nntp", "127.0.0.1", "119").fails(t, "tls_failed", "unknown authority")
	compare(t, "INN, healthy", "119", "nntp")

	nnrpd("120", "access nobody { users: nobody newsgroups: * }\n")
	compare(t, "INN, for others only", "120", "nntp")
}
