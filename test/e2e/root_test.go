package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"greetd.example/internal/test/debian"
)

// A release is a Debian, and the systemd that comes with it.
type release struct {
	name    string
	systemd string
	root    func() (string, error) // the whole of it, with greetd installed; read-only
}

var releases = []release{
	{"bookworm", "252", sync.OnceValues(func() (string, error) { return installed("bookworm") })},
	{"trixie", "257", sync.OnceValues(func() (string, error) { return installed("trixie") })},
	{"forky", "262", sync.OnceValues(func() (string, error) { return installed("forky") })},
}

const (
	packages = "systemd,systemd-sysv,dbus,iproute2," + // what a container boots with
		"man-db," + // systemd-analyze verify looks for the manual pages
		"curl,jq" // our manuals and units have commands with them
)

// onEachSystemd runs test on a freshly booted container of each release, on as many at once as
// the machine has processors.
func onEachSystemd(t *testing.T, test func(m *machine)) {
	t.Helper()
	for _, r := range releases {
		t.Run("systemd_"+r.systemd, func(t *testing.T) {
			t.Parallel()
			test(boot(t, r))
		})
	}
}

// onEachSystemdInTurn is onEachSystemd for a test whose load needs the whole machine.
func onEachSystemdInTurn(t *testing.T, test func(m *machine)) {
	t.Helper()
	for _, r := range releases {
		t.Run("systemd_"+r.systemd, func(t *testing.T) { test(boot(t, r)) })
	}
}

// freshRoot returns a copy of r's file system under a name, for as long as the test lasts.
func freshRoot(t *testing.T, r release, name string) string {
	t.Helper()
	skipUnlessPossible(t)
	base, err := r.root()
	if err != nil {
		t.Fatal(err)
	}
	root, err := overlay(base, filepath.Join(os.Getenv(insideEnv), name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(root, unix.MNT_DETACH) })
	return root
}

// fileName makes a file name of the test's name.
func fileName(t *testing.T) string {
	t.Helper()
	return strings.ReplaceAll(t.Name(), "/", "-")
}

// skipUnlessPossible skips the test where nothing can be booted, and fails it in CI, where
// everything has to run.
func skipUnlessPossible(t *testing.T) {
	t.Helper()
	why := whyNot()
	switch {
	case why == "":
	case os.Getenv("CI") == "true" && os.Getenv(wantedEnv) != "":
		t.Fatal("an end-to-end test can't run: ", why)
	default:
		t.Skip("an end-to-end test: ", why)
	}
}

// installed returns the release's file system with greetd put into it by make install.
func installed(release string) (string, error) {
	base, err := debian.Root(release, packages)
	if err != nil {
		return "", err
	}
	root, err := overlay(base, filepath.Join(os.Getenv(insideEnv), release))
	if err != nil {
		return "", err
	}
	_, err = command("make", "-C", "../..", "install", "DESTDIR="+root, "PREFIX=/usr")
	return root, err
}

// with returns the release with more Debian packages, whose units are not enabled. They are
// installed once, into a layer of the cache.
func (r release) with(more ...string) release {
	base := r.root
	r.root = func() (string, error) {
		root, err := base()
		if err != nil {
			return "", err
		}
		layer, err := packageLayer(r.name, more)
		return layer + ":" + root, err
	}
	return r
}

// packageLayer returns the directory of the cache that has what more packages add to a release.
func packageLayer(release string, more []string) (string, error) {
	base, err := debian.Root(release, packages)
	if err != nil {
		return "", err
	}
	name := fmt.Sprintf("%s+%s", filepath.Base(base), strings.Join(more, "+"))
	return debian.Cached(name, func(made string) error {
		dir := filepath.Join(os.Getenv(insideEnv), name)
		root, err := overlay(base, dir)
		if err != nil {
			return err
		}
		defer unix.Unmount(root, unix.MNT_DETACH)
		if err := os.WriteFile(filepath.Join(root, "usr/sbin/policy-rc.d"), []byte("#!/bin/sh\nexit 101\n"), 0o755); err != nil {
			return err
		}
		// Debian's mirrors may keep the Release file of a release in the making for too long.
		apt := []string{root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-o", "Acquire::Check-Valid-Until=false"}
		if _, err := command("chroot", append(apt, "update")...); err != nil {
			return err
		}
		if _, err := command("chroot", append(append(apt, "install", "-y", "--no-install-recommends"), more...)...); err != nil {
			return err
		}
		upper := filepath.Join(dir, "upper")
		for _, unwanted := range []string{"usr/sbin/policy-rc.d", "etc/systemd/system/multi-user.target.wants", "var/cache/apt", "var/lib/apt"} {
			if err := os.RemoveAll(filepath.Join(upper, unwanted)); err != nil {
				return err
			}
		}
		_, err = command("cp", "--archive", upper+"/.", made)
		return err
	})
}

// overlay mounts a writable view of base under dir, and returns where it is.
func overlay(base, dir string) (string, error) {
	for _, name := range []string{"upper", "work", "root"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			return "", err
		}
	}
	root := filepath.Join(dir, "root")
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s/upper,workdir=%s/work", base, dir, dir)
	if err := unix.Mount("overlay", root, "overlay", 0, options); err != nil {
		return "", fmt.Errorf("mount a copy of %s: %w", base, err)
	}
	return root, nil
}

// command runs a program and returns what it printed, without the last newline. An error
// carries that too.
func command(name string, args ...string) (string, error) {
	out, err := exec.Command(name, args...).CombinedOutput()
	text := strings.TrimSuffix(string(out), "\n")
	if err != nil {
		return text, fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, text)
	}
	return text, nil
}
