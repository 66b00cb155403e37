package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// signedRepositories makes the repositories of the published packages, signed with a key that is
// made for it, and returns the directory that has apt/, yum/ and the public key greetd.asc.
var signedRepositories = sync.OnceValues(func() (string, error) {
	p, err := publish()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(os.Getenv(insideEnv), "repositories")
	if out, err := command("sh", "-c", `mkdir "$1" && cp "$0"/*.deb "$0"/*.rpm "$1"`, p.now, dir); err != nil {
		return "", fmt.Errorf("copy packages: %w\n%s", err, out)
	}
	key, err := command("sh", "-euc", `
		GNUPGHOME=$(mktemp -d); export GNUPGHOME
		trap 'gpgconf --kill all; rm -rf "$GNUPGHOME"' EXIT
		gpg --batch --quiet --pinentry-mode loopback --passphrase "" --quick-generate-key "test <test@greetd.example>" rsa3072 sign never 2>/dev/null
		gpg --batch --quiet --armor --export-secret-keys`)
	if err != nil {
		return "", fmt.Errorf("make a key: %w\n%s", err, key)
	}
	sign := exec.Command("sh", filepath.Join(p.source, "deploy/packages/repositories.sh"), dir)
	sign.Env = append(os.Environ(), "SIGNING_KEY="+key, "SOURCE_DATE_EPOCH=1767225600", "REPOSITORY_URL=file:///srv/greetd")
	if out, err := sign.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%v: %w\n%s", sign.Args, err, out)
	}
	return dir, nil
})

// bringRepositories copies them to /srv/greetd of the machine.
func (m *machine) bringRepositories() {
	m.Helper()
	dir, err := signedRepositories()
	if err != nil {
		m.Fatal(err)
	}
	if out, err := command("cp", "-R", dir, m.path("/srv/greetd")); err != nil {
		m.Fatal(err, out)
	}
}

// installsFromApt goes the way of an administrator: the key, greetd.sources, apt-get. apt refuses
// what somebody has altered on the way.
func (m *machine) installsFromApt() {
	m.Helper()
	m.bringRepositories()
	m.run("sh", "-c", "rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/* /var/lib/apt/lists/*")
	m.run("install", "-D", "-m", "644", "/srv/greetd/greetd.asc", "/etc/apt/keyrings/greetd.asc")
	m.run("cp", "/srv/greetd/apt/greetd.sources", "/etc/apt/sources.list.d")
	if out := m.run("apt-get", "update"); strings.Contains(out, "W:") {
		m.Errorf("apt-get update warns:\n%s", out)
	}
	m.run("apt-get", "install", "-y", "greetd-tcp", "greetprobe")
	m.greeted("tcp", overIPv4, hello)
	if got := m.version(); got != newTag {
		m.Errorf("apt has installed %s", got)
	}
	m.run("apt-get", "purge", "-y", "greetd-tcp", "greetprobe")

	// Each alteration begins with a repository as it was published.
	refuses := func(what, alteration string, args ...string) {
		m.Helper()
		m.run("rm", "-rf", "/srv/greetd/apt")
		m.run("cp", "-R", "/srv/greetd/published", "/srv/greetd/apt")
		m.run("sh", "-euc", "cd /srv/greetd/apt; "+alteration+"; apt-get clean; rm -rf /var/lib/apt/lists/*")
		if args[0] != "update" {
			m.run("apt-get", "update")
		}
		if out, code := m.try(append([]string{"apt-get"}, args...)...); code == 0 {
			m.Errorf("apt accepts %s:\n%s", what, out)
		}
	}
	m.run("mv", "/srv/greetd/apt", "/srv/greetd/published")
	refuses("an altered Release", "sed -i 's/^Label: greetd/Label: greeted/' dists/stable/InRelease dists/stable/Release", "update")
	refuses("an altered index", "sed -i 's/^Section: net/Section: web/' dists/stable/main/binary-*/Packages; rm dists/stable/main/binary-*/Packages.gz", "update")
	refuses("an altered package", "for deb in pool/*; do printf x >>$deb; done", "install", "-y", "greetprobe")
	refuses("a repository without signatures", "rm dists/stable/InRelease dists/stable/Release.gpg", "update")
	refuses("another key", "rm /etc/apt/keyrings/greetd.asc", "update")
}

// rpmChecks fails the test unless rpm knows the published packages by the key, and no others.
func (m *machine) rpmChecks() {
	m.Helper()
	file := filepath.Base(onlyFile(m.T, m.path("/srv/greetd/yum/greetprobe_*_"+runtime.GOARCH+".rpm")))
	if out, code := m.try("rpm", "--checksig", "/srv/greetd/yum/"+file); code == 0 {
		m.Errorf("rpm knows the signature without its key: %s", out)
	}
	m.run("rpm", "--import", "/srv/greetd/greetd.asc")
	if out := m.run("rpm", "--checksig", "/srv/greetd/yum/"+file); !strings.HasSuffix(out, "digests signatures OK") {
		m.Errorf("rpm says %s", out)
	}
	m.run("sh", "-c", "printf x >>/srv/greetd/yum/"+file)
	if out, code := m.try("rpm", "--checksig", "/srv/greetd/yum/"+file); code == 0 {
		m.Errorf("rpm accepts an altered package: %s", out)
	}
}

// installsFromYum goes the way of an administrator: greetd.repo, dnf, which fetches the key itself. dnf
// refuses what somebody has altered on the way.
func (m *machine) installsFromYum() {
	m.Helper()
	// rpm's database is empty on Debian. Of all that the packages require there is only /bin/sh.
	m.write("/var/tmp/shell.spec", "Name: shell\nVersion: 1\nRelease: 1\nSummary: the shell of dpkg\nLicense: MIT\nBuildArch: noarch\nProvides: /bin/sh\n%description\n%files\n")
	m.run("rpmbuild", "-bb", "--define", "_rpmdir /var/tmp", "/var/tmp/shell.spec")
	m.run("rpm", "--install", "/var/tmp/noarch/shell-1-1.noarch.rpm")

	// Each attempt begins with a repository as it was published, and without the key.
	install := func(alteration string) (string, int) {
		m.Helper()
		m.run("sh", "-euc", "rm -rf /srv/greetd/yum; cp -R /srv/greetd/published /srv/greetd/yum; cd /srv/greetd/yum; "+alteration+
			"; dnf --quiet clean all; rm -rf /var/cache/dnf /var/lib/dnf; rpm --query gpg-pubkey >/dev/null && rpm --erase --allmatches gpg-pubkey || :")
		return m.try("dnf", "install", "-y", "greetd-tcp", "greetprobe")
	}
	m.run("install", "-D", "-m", "644", "/srv/greetd/published/greetd.repo", "/etc/yum.repos.d/greetd.repo")
	for _, refused := range []struct{ what, alteration, reason string }{
		{"an altered repomd.xml", "sed -i 's/<revision>1/<revision>2/' repodata/repomd.xml", "repomd.xml GPG signature verification error"},
		{"a repository without signatures", "rm repodata/repomd.xml.asc", "repomd.xml.asc"},
		{"an altered index", "for index in repodata/*primary.xml.gz; do printf x | dd of=$index bs=1 seek=99 conv=notrunc status=none; done", "checksum"},
		{"an altered package", "for package in *.rpm; do printf x | dd of=$package bs=1 seek=$(($(stat -c %s $package) - 9)) conv=notrunc status=none; done", "incorrect checksum"},
		{"a repository without its key", "rm greetd.asc", "greetd.asc"},
	} {
		if out, code := install(refused.alteration); code == 0 || !strings.Contains(out, refused.reason) {
			m.Errorf("dnf with %s: exit %d, want an error with %q:\n%s", refused.what, code, refused.reason, out)
		}
	}
	if out, code := install(":"); code != 0 {
		m.Fatalf("dnf: exit %d\n%s", code, out)
	}
	m.run("systemctl", "start", "greetd.service")
	m.greeted("tcp", overIPv4, hello)
	if got := m.version(); got != newTag {
		m.Errorf("dnf has installed %s", got)
	}
}

// A release without a key has no repositories, and says so; nor with one that can't sign.
func TestRepositoriesNeedAKey(t *testing.T) {
	p := published(t)
	dir := t.TempDir()
	run := func(env ...string) (string, error) {
		cmd := exec.Command("sh", filepath.Join(p.source, "deploy/packages/repositories.sh"), dir)
		cmd.Env = append(os.Environ(), append([]string{"SIGNING_KEY=", "UNSIGNED=", "SOURCE_DATE_EPOCH=1767225600"}, env...)...)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := run(); err != nil || !strings.Contains(out, "SIGNING_KEY has no key") {
		t.Errorf("without a key: %v\n%s", err, out)
	}
	if _, err := os.Stat(filepath.Join(dir, "apt")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a key there is a repository: %v", err)
	}
	if out, err := run("SIGNING_KEY=none"); err == nil || !strings.Contains(out, "is no private key") {
		t.Errorf("with a bad key: %v\n%s", err, out)
	}
	signed, err := signedRepositories()
	if err != nil {
		t.Fatal(err)
	}
	public, err := os.ReadFile(filepath.Join(signed, "greetd.asc"))
	if err != nil {
		t.Fatal(err)
	}
	if out, err := run("SIGNING_KEY=" + string(public)); err == nil || !strings.Contains(out, "is a public key") {
		t.Errorf("with a public key: %v\n%s", err, out)
	}
	if out, err := command("gpg", "--no-default-keyring", "--keyring", t.TempDir()+"/none.gpg", "--show-keys", filepath.Join(signed, "greetd.asc")); err != nil || strings.Contains(out, "sec") {
		t.Errorf("greetd.asc: %v\n%s", err, out)
	}
	index := filepath.Join(signed, "yum/repodata/repomd.xml")
	verify := `GNUPGHOME=$(mktemp -d); export GNUPGHOME; gpg --batch --quiet --import "$0/greetd.asc"; gpg --batch --verify "$1.asc" "$1"; e=$?; rm -rf "$GNUPGHOME"; exit $e`
	if out, err := command("sh", "-c", verify, signed, index); err != nil {
		t.Errorf("repomd.xml: %v\n%s", err, out)
	}
}
