package e2e

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"greetd.example/internal/test/debian"
)

// The configuration of the new version differs from the one before, so dpkg and rpm have
// something to decide about.
const (
	config   = "/etc/greetd/greetd.yaml"
	newsLine = "# News of " + newTag + ".\n"
	oursLine = "# Mine.\n"
)

// bare is r without greetd.
func bare(r release) release {
	r.root = func() (string, error) { return debian.Root(r.name, packages) }
	return r
}

// onEachBareSystemd runs test on a freshly booted container of each release, without greetd
// but with the packages of both versions.
func onEachBareSystemd(t *testing.T, test func(m *machine)) {
	t.Helper()
	for _, r := range releases {
		t.Run("systemd_"+r.systemd, func(t *testing.T) {
			m := boot(t, bare(r))
			m.bringPackages()
			test(m)
		})
	}
}

// bringPackages puts the packages of both versions into /var/tmp/old and /var/tmp/new.
func (m *machine) bringPackages() {
	m.Helper()
	p := published(m.T)
	for name, folder := range map[string]string{"old": p.before, "new": p.now} {
		for _, file := range []string{"greetd-tcp.deb", "greetprobe.deb", "greetd-tcp.rpm", "greetprobe.rpm"} {
			pkg, kind, _ := strings.Cut(file, ".")
			content, err := os.ReadFile(onlyFile(m.T, filepath.Join(folder, pkg+"_*_"+runtime.GOARCH+"."+kind)))
			if err != nil {
				m.Fatal(err)
			}
			m.write("/var/tmp/"+name+"/"+file, string(content))
		}
	}
}

// dpkg installs the greetd-tcp of a version, old or new. It must not ask.
func (m *machine) dpkg(version string, options ...string) {
	m.Helper()
	m.run(append(append([]string{"dpkg"}, options...), "--install", "/var/tmp/"+version+"/greetd-tcp.deb")...)
}

// upgraded runs a command that upgrades greetd, under load, which must lose nobody.
func (m *machine) upgraded(command string) {
	m.Helper()
	m.drill(append([]string{"--do", command, "--times", "1"}, everybody...)...).lostNobody(m.T, 1)
}

// version returns what the running daemon says of itself.
func (m *machine) version() string {
	m.Helper()
	var status struct{ Version string }
	if err := json.Unmarshal([]byte(m.run("greetd", "status", "--json")), &status); err != nil {
		m.Fatal(err)
	}
	return status.Version
}

// read returns what is in a file of the machine.
func (m *machine) read(path string) string {
	m.Helper()
	content, err := os.ReadFile(m.path(path))
	if err != nil {
		m.Fatal(err)
	}
	return string(content)
}

// nobody listens at address.
func (m *machine) nobody(address string) {
	m.Helper()
	if c, err := m.dial("tcp", address); err == nil {
		_ = c.Close()
		m.Errorf("somebody listens at %s", address)
	}
}

// traces returns the files that have to do with greetd, except what the system itself keeps:
// the journal, the user, and our copies of the packages.
func (m *machine) traces() []string {
	m.Helper()
	out := m.run("find", "/", "-xdev", "(", "-path", "/var/log", "-o", "-path", "/srv", "-o", "-path", "/var/tmp", ")", "-prune", "-o",
		"-iname", "*greet*", "-print")
	out += "\n" + m.run("sh", "-c", "grep -rlI greet /etc /run/systemd /var/lib/dpkg /var/lib/systemd 2>/dev/null || true")
	var traces []string
	for line := range strings.Lines(out) {
		switch name := strings.TrimSpace(line); {
		case name == "", strings.HasPrefix(name, "/usr/share/greetd-e2e-packages"):
		case slices.Contains([]string{"passwd", "passwd-", "group", "group-", "shadow", "shadow-", "gshadow", "gshadow-"}, strings.TrimPrefix(name, "/etc/")):
		case strings.HasSuffix(name, "-old") && strings.HasPrefix(name, "/var/lib/dpkg/"): // dpkg's backups
		default:
			traces = append(traces, name)
		}
	}
	return traces
}

// The life of the package, from the first installation to the purge.
func TestPackageLife(t *testing.T) {
	onEachBareSystemd(t, func(m *machine) {
		if before := m.traces(); len(before) > 0 {
			m.Fatalf("greetd has been here: %q", before)
		}

		m.dpkg("old")
		if got := m.run("systemctl", "is-enabled", "greetd.service"); got != "enabled" {
			m.Errorf("greetd.service is %s", got)
		}
		m.greeted("tcp", overIPv4, hello) // it runs, and was ready when dpkg returned
		if got := m.version(); got == newTag {
			m.Fatalf("the version before is %s, too", got)
		}
		m.run("dpkg", "--install", "/var/tmp/old/greetprobe.deb")
		m.run("greetprobe", "127.0.0.1", "10000")
		m.run("/usr/lib/nagios/plugins/check_greet", "-H", "127.0.0.1", "-p", "10000")
		m.probeUnits("disabled", "inactive")
		timed, scraped := m.probeUnitsStart()
		m.run("getent", "passwd", "greetd-tcp")
		if !strings.Contains(m.run("journalctl", "--list-catalog"), "greetd") {
			m.Error("the catalog does not know greetd")
		}
		m.run("man", "--where", "greetd")
		m.run("man", "--where", "greetd.yaml")

		// Upgraded under load, there and back; a configuration that was changed stays, asked or not.
		m.write(config, m.read(config)+oursLine)
		m.upgraded("dpkg --force-confdef --install /var/tmp/new/greetd-tcp.deb && dpkg --install /var/tmp/new/greetprobe.deb")
		m.probeUnitsRestarted(timed, scraped)
		if got := m.version(); got != newTag {
			m.Errorf("after the upgrade runs %s", got)
		}
		if got := m.read(config); !strings.HasSuffix(got, oursLine) || strings.Contains(got, newsLine) {
			m.Errorf("the changed configuration became\n%s", got)
		}
		if !strings.HasSuffix(m.read(config+".dpkg-dist"), newsLine) {
			m.Error("the new configuration is not beside the changed one")
		}
		m.upgraded("echo N | dpkg --install /var/tmp/old/greetd-tcp.deb >/run/asked 2>&1")
		if out := m.read("/run/asked"); !strings.Contains(out, config) {
			m.Errorf("dpkg asked nothing:\n%s", out)
		}
		if got := m.version(); got == newTag || !strings.HasSuffix(m.read(config), oursLine) {
			m.Errorf("back again runs %s, with\n%s", got, m.read(config))
		}

		// Removed, it is gone but for the configuration; and comes back with it.
		m.write("/etc/greetd/10025.yaml", "greeting: \"an instance\\n\"\n")
		m.run("systemctl", "enable", "--now", "greetd@10025.socket")
		m.greeted("tcp", "127.0.0.1:10025", "an instance\n")
		m.run("dpkg", "--remove", "greetd-tcp", "greetprobe")
		m.nobody(overIPv4)
		m.nobody("127.0.0.1:10025")
		m.nobody(exporterAddress)
		if _, code := m.try("systemctl", "cat", "greetd.service"); code == 0 {
			m.Error("removed, but systemd still knows greetd.service")
		}
		if !strings.HasSuffix(m.read(config), oursLine) {
			m.Error("the configuration went with the package")
		}
		m.dpkg("new", "--force-confold")
		m.greeted("tcp", overIPv4, hello)
		m.run("dpkg", "--install", "/var/tmp/new/greetprobe.deb")
		m.probeUnits("enabled", "inactive") // as it was, and nothing starts by itself

		// Purged, it leaves nothing, whatever the administrator had enabled.
		m.run("systemctl", "enable", "greetd.socket")
		m.example("greetd.service", "socket-only.conf")
		m.run("systemctl", "start", "greetprobe.timer", "greetprobe-exporter.socket")
		m.dropIn("greetprobe-exporter.service", "[Service]")
		m.run("dpkg", "--purge", "greetd-tcp", "greetprobe")
		m.nobody(overIPv4)
		m.nobody(exporterAddress)
		if left := m.traces(); len(left) > 0 {
			m.Errorf("purged, and left %q", left)
		}
	})
}

// probeUnits fails the test unless greetprobe's timer and the exporter's socket are in these states.
func (m *machine) probeUnits(enabled, active string) {
	m.Helper()
	for _, unit := range []string{"greetprobe.timer", "greetprobe-exporter.socket"} {
		if got, _ := m.try("systemctl", "is-enabled", unit); got != enabled {
			m.Errorf("%s is %s, want %s", unit, got, enabled)
		}
		if got, _ := m.try("systemctl", "is-active", unit); got != active {
			m.Errorf("%s is %s, want %s", unit, got, active)
		}
	}
	if got, _ := m.try("systemctl", "is-enabled", "greetprobe-exporter.service"); got != "disabled" {
		m.Errorf("greetprobe-exporter.service is %s", got)
	}
}

// probeUnitsStart starts greetprobe's units as an administrator does, and returns when the timer
// was started, and the exporter's process.
func (m *machine) probeUnitsStart() (timed, scraped string) {
	m.Helper()
	m.run("install", "-d", "/var/lib/prometheus/node-exporter")
	m.write("/etc/greetprobe/targets", "127.0.0.1:10000\n")
	m.run("systemctl", "enable", "--now", "greetprobe.timer", "greetprobe-exporter.socket")
	m.run("systemctl", "start", "greetprobe.service")
	if got := m.read("/var/lib/prometheus/node-exporter/greetprobe.prom"); !strings.Contains(got, "greetprobe_success{") {
		m.Errorf("the textfile has no greetprobe_success:\n%s", got)
	}
	if got := m.askExporter("/probe?target=127.0.0.1:10000&module=greeting"); !strings.Contains(got, "\nprobe_success 1\n") {
		m.Errorf("the exporter answered\n%s", got)
	}
	return m.property("greetprobe.timer", "InvocationID"), m.property("greetprobe-exporter.service", "MainPID")
}

// probeUnitsRestarted fails the test unless an upgrade has restarted what ran, and nothing else.
func (m *machine) probeUnitsRestarted(timed, scraped string) {
	m.Helper()
	m.probeUnits("enabled", "active")
	if got := m.property("greetprobe.timer", "InvocationID"); got == timed {
		m.Error("greetprobe.timer was not restarted")
	}
	if got := m.property("greetprobe-exporter.service", "MainPID"); got == scraped || got == "0" {
		m.Errorf("greetprobe-exporter.service has process %s after the upgrade, and had %s", got, scraped)
	}
	if got := m.askExporter("/metrics"); !strings.Contains(got, newTag) {
		m.Errorf("after the upgrade the exporter is not %s:\n%s", newTag, got)
	}
}

// With socket activation the service is disabled; an upgrade restarts it all the same, and
// what is enabled stays so. A configuration that nobody changed becomes the new one.
func TestPackageUpgradesSocketActivation(t *testing.T) {
	onEachBareSystemd(t, func(m *machine) {
		m.dpkg("old")
		m.run("systemctl", "disable", "--now", "greetd.service")
		m.example("greetd.service", "socket-only.conf")
		m.run("systemctl", "enable", "--now", "greetd.socket", "greetd@10025.socket")
		m.greeted("tcp", overIPv4, hello)
		m.write("/etc/greetd/10025.yaml", "greeting: \"an instance\\n\"\n")
		m.greeted("tcp", "127.0.0.1:10025", "an instance\n")
		instance := m.property("greetd@10025.service", "MainPID")

		m.run("dpkg", "--install", "/var/tmp/new/greetprobe.deb")
		m.upgraded("dpkg --install /var/tmp/new/greetd-tcp.deb")
		if got := m.version(); got != newTag {
			m.Errorf("after the upgrade runs %s", got)
		}
		m.greeted("tcp", "127.0.0.1:10025", "an instance\n")
		if got := m.property("greetd@10025.service", "MainPID"); got == instance {
			m.Error("the instance runs the version before")
		}
		for unit, want := range map[string]string{"greetd.service": "disabled", "greetd.socket": "enabled"} {
			if got, _ := m.try("systemctl", "is-enabled", unit); got != want {
				m.Errorf("%s is %s", unit, got)
			}
		}
		if !strings.HasSuffix(m.read(config), newsLine) {
			m.Error("the configuration, which nobody has changed, is the one before")
		}
	})
}

func TestPackageKeepsTheRules(t *testing.T) {
	onEachBareSystemd(t, func(m *machine) {
		// Beside the login manager of the same name it is not installed.
		m.write("/var/tmp/login/DEBIAN/control", "Package: greetd\nVersion: 0.10.3-1\nArchitecture: all\n"+
			"Maintainer: nobody <nobody@example.org>\nDescription: the login manager\n")
		m.run("dpkg-deb", "--build", "/var/tmp/login", "/var/tmp/login.deb")
		m.run("dpkg", "--install", "/var/tmp/login.deb")
		out, code := m.try("dpkg", "--install", "/var/tmp/new/greetd-tcp.deb")
		if code == 0 || !strings.Contains(out, "conflicts with greetd") {
			m.Errorf("dpkg installs it beside the login manager: exit %d\n%s", code, out)
		}
		if _, code := m.try("test", "-e", "/usr/sbin/greetd"); code == 0 {
			m.Error("its files are there")
		}
		m.run("dpkg", "--purge", "greetd")

		// Where policy-rc.d forbids it, nothing is started; nor restarted by an upgrade.
		m.write("/usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n")
		m.run("chmod", "755", "/usr/sbin/policy-rc.d")
		m.dpkg("old")
		m.nobody(overIPv4)
		if got := m.run("systemctl", "is-enabled", "greetd.service"); got != "enabled" {
			m.Errorf("greetd.service is %s, and was only not to be started", got)
		}
		m.run("systemctl", "start", "greetd.service")
		pid := m.property("greetd.service", "MainPID")
		m.write("/usr/local/lib/systemd/system/greetd.service", "[Service]\nExecStart=/usr/local/sbin/greetd\n")
		if out := m.run("dpkg", "--install", "/var/tmp/new/greetd-tcp.deb"); !strings.Contains(out, "make uninstall") {
			m.Errorf("not told that /usr/local comes first:\n%s", out)
		}
		m.run("rm", "/usr/local/lib/systemd/system/greetd.service")
		if got := m.property("greetd.service", "MainPID"); got != pid {
			m.Error("policy-rc.d forbids it, and yet it was restarted")
		}
		m.run("rm", "/usr/sbin/policy-rc.d")

		// When the package is only removed and the login manager comes, the purge leaves
		// that one what is its own.
		m.run("dpkg", "--remove", "greetd-tcp")
		m.write("/var/tmp/login/usr/lib/systemd/system/greetd.service", "[Service]\nExecStart=/usr/bin/sleep infinity\n")
		m.write("/var/tmp/login/etc/greetd/config.toml", "[terminal]\nvt = 1\n")
		m.run("dpkg-deb", "--build", "/var/tmp/login", "/var/tmp/login.deb")
		m.run("dpkg", "--install", "/var/tmp/login.deb")
		m.write("/etc/systemd/system/greetd.service.d/login.conf", "[Service]\n")
		m.run("dpkg", "--purge", "greetd-tcp")
		m.run("test", "-e", "/etc/greetd/config.toml", "-a", "-e", "/etc/systemd/system/greetd.service.d/login.conf")
		if _, code := m.try("test", "-e", config); code == 0 {
			m.Errorf("purged, and %s is still there", config)
		}
		m.run("dpkg", "--purge", "greetd")
		m.installsFromApt()
	})
}

// The .rpm does what the .deb does, in the manner of its distributions: not started by the
// installation. There is no Fedora here; Debian has rpm, and the scripts know no difference.
func TestRPMLife(t *testing.T) {
	r := bare(releases[1]) // whose mirror has packages that do not expire
	m := prepare(t, r, r.name)
	if out, err := command("chroot", m.root, "sh", "-c", "apt-get update && apt-get install -y --no-install-recommends rpm dnf"); err != nil {
		debian.Lacking(t, "rpm and dnf in the container: %v\n%s", err, out)
	}
	m.start()
	m.bringPackages()
	rpm := func(args ...string) {
		t.Helper()
		m.run(append([]string{"rpm", "--nodeps"}, args...)...) // /bin/sh is dpkg's here
	}

	m.bringRepositories()
	m.run("cp", "-R", "/srv/greetd/yum", "/srv/greetd/published")
	m.rpmChecks()
	rpm("--install", "/var/tmp/old/greetd-tcp.rpm")
	m.nobody(overIPv4)
	m.run("getent", "passwd", "greetd-tcp")
	m.run("systemctl", "start", "greetd.service")
	m.greeted("tcp", overIPv4, hello)
	m.write(config, m.read(config)+oursLine)
	copyTree(m, "/usr/src/greetd", "bin", "configs", "deploy", "docs", "go.mod")
	m.overwritesNothing("dnf remove greetd-tcp")
	m.run("rm", "-r", "/usr/src/greetd")
	rpm("--install", "/var/tmp/old/greetprobe.rpm")
	m.run("/usr/lib64/nagios/plugins/check_greet", "-H", "127.0.0.1", "-p", "10000")
	if got := m.property("greetprobe.timer", "ActiveState"); got != "inactive" {
		t.Errorf("the installation has started greetprobe.timer: %s", got)
	}
	m.run("systemctl", "disable", "greetprobe.timer", "greetprobe-exporter.service", "greetprobe-exporter.socket") // presets enable all on Debian
	timed, scraped := m.probeUnitsStart()
	rpm("--upgrade", "/var/tmp/new/greetprobe.rpm")
	m.probeUnitsRestarted(timed, scraped)

	m.upgraded("rpm --nodeps --upgrade /var/tmp/new/greetd-tcp.rpm")
	if got := m.version(); got != newTag {
		t.Errorf("after the upgrade runs %s", got)
	}
	if !strings.HasSuffix(m.read(config), oursLine) || !strings.HasSuffix(m.read(config+".rpmnew"), newsLine) {
		t.Errorf("the changed configuration became\n%s", m.read(config))
	}

	m.run("systemctl", "enable", "greetd.service")
	rpm("--erase", "greetd-tcp", "greetprobe")
	m.nobody(overIPv4)
	m.nobody(exporterAddress)
	m.run("rm", "-r", "/etc/greetprobe", "/var/lib/prometheus/node-exporter/greetprobe.prom") // the administrator's
	if !strings.HasSuffix(m.read(config+".rpmsave"), oursLine) {
		t.Error("the changed configuration was not saved")
	}
	for _, trace := range m.traces() {
		if !strings.HasPrefix(trace, config+".rpm") && trace != "/etc/greetd" {
			t.Errorf("erased, and left %s", trace)
		}
	}

	// Where systemd has its helper for that, the helper is asked.
	m.write("/usr/lib/systemd/systemd-update-helper", "#!/bin/sh\necho \"$@\" >>/var/tmp/helped\n")
	m.run("chmod", "755", "/usr/lib/systemd/systemd-update-helper")
	rpm("--install", "/var/tmp/new/greetd-tcp.rpm")
	rpm("--erase", "greetd-tcp")
	if got, want := m.read("/var/tmp/helped"), "install-system-units greetd.service greetd.socket\nremove-system-units greetd.service greetd.socket\n"; got != want {
		t.Errorf("the helper was told %q, want %q", got, want)
	}
	m.run("rm", "/usr/lib/systemd/systemd-update-helper")
	m.installsFromYum()
}

// What lintian and rpm say of the packages themselves.
func TestPackagesAreInOrder(t *testing.T) {
	skipUnlessPossible(t)
	lintian := debian.Program(t, "lintian", "lintian")
	rpm := debian.Program(t, "rpm", "rpm")
	now := published(t).now

	debs, err := filepath.Glob(filepath.Join(now, "*.deb"))
	if err != nil || len(debs) != 4 {
		t.Fatalf("%q, %v", debs, err)
	}
	out, err := command(lintian, append([]string{"--allow-root", "--fail-on", "error"}, debs...)...)
	if err != nil || strings.Contains(out, "unused-override") || strings.Contains(out, "extended-description") {
		t.Error(err, out)
	}

	for _, file := range []string{now + "/greetd-tcp_*_amd64.rpm", now + "/greetd-tcp_*_arm64.rpm"} {
		file := onlyFile(t, file)
		for query, want := range map[string]string{
			"--conflicts":    "greetd\n",
			"--configfiles":  config + "\n",
			"--docfiles":     "/usr/share/man/man8/greetd.8.gz\n",
			"--licensefiles": "/usr/share/licenses/greetd-tcp/third-party-notices\n",
		} {
			if out, err := command(rpm, "--query", "--package", query, file); err != nil || !strings.Contains(out+"\n", want) {
				t.Errorf("rpm %s has not %q: %v\n%s", query, want, err, out)
			}
		}
	}
	for _, pkg := range []string{"greetd-tcp", "greetprobe"} {
		out, err := command(rpm, "--query", "--package", "--changelog", onlyFile(t, now+"/"+pkg+"_*_amd64.rpm"))
		if want := "* Thu Jan 01 2026 greetd maintainers <maintainers@greetd.example> - 1.999.0\n- "; err != nil || !strings.Contains(out, want) {
			t.Errorf("the changelog of %s.rpm has not %q: %v\n%s", pkg, want, err, out)
		}
	}
}

// Both packagers install the same, but for what only one of them has.
func TestPackagesHaveWhatMakeInstallHas(t *testing.T) {
	skipUnlessPossible(t)
	rpm := debian.Program(t, "rpm", "rpm")
	root := t.TempDir()
	if out, err := makeInstall(t, "install", root, "PREFIX=/usr"); err != nil {
		t.Fatal(err, out)
	}
	want := map[string]bool{}
	for name := range tree(t, root) {
		if strings.Contains(name, "/man/") {
			name += ".gz"
		}
		if name != "/usr/share/greetd-tcp/greetd.yaml" {
			want[name] = true
		}
	}

	now := published(t).now
	lists := map[string]string{}
	for _, pkg := range []string{"greetd-tcp", "greetprobe"} {
		out, err := command("sh", "-c", `dpkg-deb --fsys-tarfile "$0" | tar --list --file=-`, onlyFile(t, now+"/"+pkg+"_*_"+runtime.GOARCH+".deb"))
		if err != nil {
			t.Fatal(err)
		}
		lists["deb"] += strings.ReplaceAll(strings.ReplaceAll(out, "./", "/"), "vendor-completions", "site-functions") + "\n"
		if out, err = command(rpm, "--query", "--package", "--list", onlyFile(t, now+"/"+pkg+"_*_"+runtime.GOARCH+".rpm")); err != nil {
			t.Fatal(err)
		}
		lists["rpm"] += strings.ReplaceAll(out, "/lib64/", "/lib/") + "\n"
	}
	for kind, list := range lists {
		for _, name := range slices.Sorted(maps.Keys(want)) {
			if !strings.Contains("\n"+list, "\n"+name+"\n") {
				t.Errorf("the .%s has not %s", kind, name)
			}
		}
	}
}
