package e2e

import (
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// makeInstall runs make with a target, for a file system under root.
func makeInstall(t *testing.T, target, root string, settings ...string) (output string, err error) {
	t.Helper()
	skipUnlessPossible(t)
	out, err := exec.Command("make", append([]string{"-C", "../..", target, "DESTDIR=" + root}, settings...)...).CombinedOutput()
	return string(out), err
}

// tree returns the files under root, with their contents; a link's content is its target.
func tree(t *testing.T, root string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name := strings.TrimPrefix(path, root)
		if entry.Type()&fs.ModeSymlink != 0 {
			files[name], err = os.Readlink(path)
			return err
		}
		content, err := os.ReadFile(path)
		files[name] = string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestInstallPutsFilesWhereTheDistributionDoes(t *testing.T) {
	for _, prefix := range []string{"/usr", "/usr/local"} {
		t.Run(prefix, func(t *testing.T) {
			root := t.TempDir()
			if out, err := makeInstall(t, "install", root, "PREFIX="+prefix); err != nil {
				t.Fatal(err, out)
			}
			files := tree(t, root)
			for _, want := range []string{
				prefix + "/sbin/greetd",
				prefix + "/bin/greetprobe",
				prefix + "/lib/systemd/system/greetd.service",
				prefix + "/lib/systemd/system/greetd.socket",
				prefix + "/lib/systemd/system/greetd@.service",
				prefix + "/lib/systemd/system/greetd@.socket",
				prefix + "/lib/systemd/system/greetprobe-exporter.service",
				prefix + "/lib/systemd/system/greetprobe-exporter.socket",
				prefix + "/lib/systemd/system/greetprobe.service",
				prefix + "/lib/systemd/system/greetprobe.timer",
				prefix + "/lib/nagios/plugins/check_greet",
				prefix + "/share/doc/greetprobe/examples/exporter.yaml",
				prefix + "/lib/systemd/catalog/greetd-tcp.catalog",
				prefix + "/lib/sysusers.d/greetd-tcp.conf",
				prefix + "/share/doc/greetd-tcp/examples/socket-only.conf",
				prefix + "/share/man/man8/greetd.8",
				prefix + "/share/man/man5/greetd.yaml.5",
				prefix + "/share/man/man1/greetprobe.1",
				prefix + "/share/bash-completion/completions/greetd",
				prefix + "/share/zsh/site-functions/_greetprobe",
				prefix + "/share/fish/vendor_completions.d/greetd.fish",
				prefix + "/share/greetd/greetd.schema.json",
				"/etc/greetd/greetd.yaml",
			} {
				if _, ok := files[want]; !ok {
					t.Errorf("%s is missing; there is\n%s", want, strings.Join(slices.Sorted(maps.Keys(files)), "\n"))
				}
			}
			for name, content := range files {
				if prefix == "/usr" && strings.HasPrefix(name, "/usr/") && !strings.Contains(name, "bin/") && !strings.HasSuffix(name, ".yaml") && strings.Contains(content, "/usr/local/") {
					t.Errorf("%s still says /usr/local", name)
				}
			}
			if got, _, _ := strings.Cut(files["/etc/greetd/greetd.yaml"], "\n"); got != "# yaml-language-server: $schema="+prefix+"/share/greetd/greetd.schema.json" {
				t.Errorf("the configuration begins with %q", got)
			}
			if got := files[prefix+"/lib/systemd/system/greetd.service"]; !strings.Contains(got, "\nExecStart="+prefix+"/sbin/greetd\n") {
				t.Errorf("greetd.service starts something else:\n%s", got)
			}
			again, err := makeInstall(t, "install", root, "PREFIX="+prefix)
			if err != nil {
				t.Errorf("a second time: %v\n%s", err, again)
			}
		})
	}
}

func TestInstallTakesAFolderForUnits(t *testing.T) {
	root := t.TempDir()
	if out, err := makeInstall(t, "install", root, "SYSTEMD_UNIT_DIR=/etc/systemd/system"); err != nil {
		t.Fatal(err, out)
	}
	if _, ok := tree(t, root)["/etc/systemd/system/greetd.service"]; !ok {
		t.Error("greetd.service is not in SYSTEMD_UNIT_DIR")
	}
}

func TestInstallKeepsAChangedConfiguration(t *testing.T) {
	root := t.TempDir()
	config := filepath.Join(root, "etc/greetd/greetd.yaml")
	lastTime := filepath.Join(root, "usr/local/share/greetd-tcp/greetd.yaml")
	const changed = "greeting: \"mine\\n\"\n"
	writeFile(t, config, changed)
	writeFile(t, lastTime, "greeting: \"as delivered last time\\n\"\n")

	out, err := makeInstall(t, "install", root)
	if err != nil {
		t.Fatal(err, out)
	}
	reference, err := os.ReadFile("../../configs/greetd.yaml")
	if err != nil {
		t.Fatal(err)
	}
	files := tree(t, root)
	if files["/etc/greetd/greetd.yaml"] != changed {
		t.Errorf("the configuration became %q", files["/etc/greetd/greetd.yaml"])
	}
	if files["/etc/greetd/greetd.yaml.new"] != string(reference) || !strings.Contains(out, "greetd.yaml.new") {
		t.Errorf("the new configuration is not beside it, or nobody was told:\n%s", out)
	}

	// One that nobody changed makes room for a newer one.
	const delivered = "greeting: \"as delivered last time\\n\"\n"
	writeFile(t, config, delivered)
	writeFile(t, lastTime, delivered)
	if out, err := makeInstall(t, "install", root); err != nil {
		t.Fatal(err, out)
	}
	files = tree(t, root)
	if files["/etc/greetd/greetd.yaml"] != string(reference) {
		t.Errorf("an unchanged configuration stayed old: %q", files["/etc/greetd/greetd.yaml"])
	}
	if _, ok := files["/etc/greetd/greetd.yaml.new"]; ok {
		t.Error("greetd.yaml.new is still there, and is no news")
	}
}

func TestInstallRefusesBesideTheLoginManager(t *testing.T) {
	const unit = "[Unit]\nDescription=Greeter daemon\n[Service]\nExecStart=/usr/sbin/greetd\n[Install]\nAlias=display-manager.service\n"
	signs := map[string]func(root string){
		"the package greetd": func(root string) {
			writeFile(t, root+"/var/lib/dpkg/status",
				"Package: greetd\nStatus: install ok installed\nPriority: optional\nSection: admin\nMaintainer: x <x@example.org>\nArchitecture: amd64\nVersion: 0.9.0-2\nDescription: login manager\n\n")
		},
		"/usr/sbin/greetd": func(root string) {
			writeFile(t, root+"/usr/sbin/greetd", "\x7fELF and so on")
		},
		"/etc/pam.d/greetd": func(root string) {
			writeFile(t, root+"/etc/pam.d/greetd", "auth include login\n")
		},
		"is a link to greetd.service": func(root string) {
			writeFile(t, root+"/etc/systemd/system/other.service", "")
			if err := os.Symlink("/lib/systemd/system/greetd.service", root+"/etc/systemd/system/display-manager.service"); err != nil {
				t.Fatal(err)
			}
		},
		"has the alias display-manager.service": func(root string) {
			writeFile(t, root+"/usr/lib/systemd/system/greetd.service", unit)
		},
	}
	for sign, leave := range signs {
		t.Run(sign, func(t *testing.T) {
			root := t.TempDir()
			leave(root)
			before := tree(t, root)
			for _, target := range []string{"install", "uninstall"} {
				out, err := makeInstall(t, target, root, "PREFIX=/usr")
				if err == nil || !strings.Contains(out, sign) {
					t.Errorf("%s: %v, and did not name %q:\n%s", target, err, sign, out)
				}
			}
			if !maps.Equal(before, tree(t, root)) {
				t.Error("it changed something all the same")
			}
		})
	}
}

func TestUninstallLeavesTheConfiguration(t *testing.T) {
	root := t.TempDir()
	for _, target := range []string{"install", "uninstall"} {
		if out, err := makeInstall(t, target, root); err != nil {
			t.Fatal(err, out)
		}
	}
	if left := slices.Collect(maps.Keys(tree(t, root))); !slices.Equal(left, []string{"/etc/greetd/greetd.yaml"}) {
		t.Errorf("left behind: %q", left)
	}
}

// On the machine itself, without DESTDIR, systemd and the journal are told as well.
// overwritesNothing checks that neither installation nor uninstallation touches a package, and that both name the remedy.
func (m *machine) overwritesNothing(remedy string) {
	m.Helper()
	for _, what := range []string{"install", "uninstall"} {
		if out, code := m.try("env", "PREFIX=/usr", "sh", "/usr/src/greetd/deploy/install.sh", what); code == 0 || !strings.Contains(out, remedy) {
			m.Errorf("%s over the package: exit %d\n%s", what, code, out)
		}
	}
}

func TestInstallOnALiveMachine(t *testing.T) {
	onEachSystemd(t, func(m *machine) {
		copyTree(m, "/usr/src/greetd", "bin", "configs", "deploy", "docs", "go.mod")
		// Beside another one, such as the package's, it says which comes first; uninstalled, it leaves that one running.
		m.run("systemctl", "start", "greetd", "greetd@10025.socket")
		if out := m.run("sh", "/usr/src/greetd/deploy/install.sh"); !strings.Contains(out, "/usr/lib/systemd/system/greetd.service (of a package?) is there too") {
			m.Errorf("it does not say that it shadows another one:\n%s", out)
		}
		m.run("systemctl", "restart", "greetd")
		m.run("sh", "/usr/src/greetd/deploy/install.sh", "uninstall")
		m.greeted("tcp", overIPv4, hello)
		if got := m.run("systemctl", "is-active", "greetd", "greetd@10025.socket"); got != "active\nactive" {
			m.Errorf("the units of the other one are %q", got)
		}
		if got := m.run("readlink", "/proc/"+m.property("greetd", "MainPID")+"/exe"); got != "/usr/sbin/greetd" {
			m.Errorf("%s runs", got)
		}
		m.run("mkdir", "-p", "/var/lib/dpkg/info")
		for _, name := range []string{"greetd-tcp", "greetprobe"} {
			m.write("/var/lib/dpkg/info/"+name+".list", "")
			m.overwritesNothing("apt-get remove " + name)
			m.run("rm", "/var/lib/dpkg/info/"+name+".list")
		}
		m.run("systemctl", "stop", "greetd@10025.socket")

		// The one from make install, outside, goes first.
		m.run("env", "PREFIX=/usr", "sh", "/usr/src/greetd/deploy/install.sh", "uninstall")
		if out, code := m.try("systemctl", "cat", "greetd.service"); code == 0 {
			m.Fatalf("uninstalled, but there is\n%s", out)
		}
		m.run("sh", "-c", "umask 077; exec sh /usr/src/greetd/deploy/install.sh")
		if closed := m.run("find", "/usr/local", "-not", "-perm", "-o=r", "-o", "-type", "d", "-not", "-perm", "-o=x"); closed != "" {
			m.Errorf("others can't read what was installed: %s", closed)
		}
		if got := m.property("greetd.service", "FragmentPath"); got != "/usr/local/lib/systemd/system/greetd.service" {
			m.Errorf("systemd has greetd.service from %q", got)
		}
		m.run("systemctl", "enable", "--now", "greetd")
		m.greeted("tcp", "127.0.0.1:10000", "Hello there, 127.0.0.1!\n")
		if got := m.run("journalctl", "--list-catalog"); !strings.Contains(got, "greetd") {
			m.Errorf("the catalog does not know greetd:\n%s", got)
		}

		// Uninstalled, nothing runs any more, instances neither.
		m.write("/etc/greetd/10025.yaml", "listeners: [{name: greet, address: \":10025\"}]\n")
		m.run("systemctl", "enable", "--now", "greetd@10025", "greetd@10026.socket")
		m.run("sh", "/usr/src/greetd/deploy/install.sh", "uninstall")
		for _, port := range []string{"10000", "10025", "10026"} {
			m.nobody("127.0.0.1:" + port)
		}
		if links := m.run("find", "/etc/systemd/system", "-name", "greetd*"); links != "" {
			m.Errorf("uninstalled, and left %s", links)
		}

		m.run("sh", "/usr/src/greetd/deploy/install.sh")
		// With another greetd.service behind display-manager.service it refuses.
		m.write("/etc/systemd/system/greetd.service", "[Service]\nExecStart=/usr/bin/true\n[Install]\nAlias=display-manager.service\n")
		m.run("ln", "-s", "greetd.service", "/etc/systemd/system/display-manager.service")
		m.run("systemctl", "daemon-reload")
		out, code := m.try("sh", "/usr/src/greetd/deploy/install.sh")
		if code == 0 || !strings.Contains(out, "greetd.service is also display-manager.service") {
			m.Errorf("exit %d:\n%s", code, out)
		}
	})
}

// copyTree copies files and folders of the repository into the machine.
func copyTree(m *machine, target string, names ...string) {
	m.Helper()
	target = filepath.Join(m.root, target)
	if err := os.MkdirAll(target, 0o755); err != nil {
		m.Fatal(err)
	}
	for _, name := range names {
		if out, err := command("cp", "-a", filepath.Join("../..", name), target); err != nil {
			m.Fatal(err, out)
		}
	}
}
