// Package debian finds the programs that tests talk to, and gets the missing ones
// from Debian. What a test can't have is reported, never skipped in silence.
package debian

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Program returns the path of a program. Where it is missing, root installs the Debian
// package that has it; where that can't be done, the test is Lacking.
func Program(tb testing.TB, name, pkg string) string {
	tb.Helper()
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	problem := "only root can install it"
	if os.Getuid() == 0 {
		if err := install(tb, pkg); err != nil {
			problem = err.Error()
		} else if path, err := exec.LookPath(name); err != nil {
			problem = err.Error()
		} else {
			return path
		}
	}
	Lacking(tb, "%s of the Debian package %s: %s", name, pkg, problem)
	return ""
}

// Lacking skips a test for which this machine has not got what it needs, and says what.
// With CI=true, where everything has to run, the test fails.
func Lacking(tb testing.TB, what string, args ...any) {
	tb.Helper()
	if os.Getenv("CI") == "true" {
		tb.Fatalf("needs "+what, args...)
	}
	tb.Skipf("needs "+what, args...)
}

// install waits for others who install something: packages are tested side by side. No
// daemon is started for being installed.
func install(tb testing.TB, pkg string) error {
	tb.Helper()
	lock, err := os.Create(filepath.Join(os.TempDir(), "greetd-debian.lock"))
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := flock(lock); err != nil {
		return fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	const policy, startNothing = "/usr/sbin/policy-rc.d", "#!/bin/sh\n# while greetd's tests install a package\nexit 101\n"
	switch mine, err := os.ReadFile(policy); {
	case err == nil && string(mine) != startNothing:
		// The machine has its own.
	case err == nil || errors.Is(err, fs.ErrNotExist):
		if err := os.WriteFile(policy, []byte(startNothing), 0o755); err != nil {
			return err
		}
		defer os.Remove(policy)
	default:
		return err
	}
	apt := func(args ...string) error {
		cmd := exec.CommandContext(tb.Context(), "apt-get", append([]string{"-o", "DPkg::Lock::Timeout=600"}, args...)...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		out, err := cmd.CombinedOutput()
		if err != nil {
			tb.Logf("%v: %v\n%s", cmd.Args, err, out)
		}
		return err
	}
	get := []string{"install", "-y", "--no-install-recommends", pkg}
	if apt(get...) == nil {
		return nil
	}
	_ = apt("update") // one of several sites may be away; the next line fails then
	return apt(get...)
}

// Unpacked returns a directory with the files of Debian packages, and installs the libraries
// that their programs need. The packages themselves are not installed: this is for one whose
// setup fails on machines without a domain name, say.
func Unpacked(tb testing.TB, packages ...string) string {
	tb.Helper()
	if os.Getuid() != 0 {
		Lacking(tb, "the Debian package %s: only root can install its libraries", packages[0])
	}
	dir := tb.TempDir()
	if err := errors.Join(os.Chmod(filepath.Dir(dir), 0o755), os.Chmod(dir, 0o755)); err != nil { // for the user of the program
		tb.Fatal(err)
	}
	root := filepath.Join(dir, "root")
	for _, pkg := range packages {
		download := exec.CommandContext(tb.Context(), "apt-get", "download", pkg)
		download.Dir = dir
		if out, err := download.CombinedOutput(); err != nil {
			Lacking(tb, "the Debian package %s: %v\n%s", pkg, err, out)
		}
		files, err := filepath.Glob(filepath.Join(dir, pkg+"_*.deb"))
		if err != nil || len(files) != 1 {
			tb.Fatalf("apt-get download %s: %q, %v", pkg, files, err)
		}
		depends, err := exec.CommandContext(tb.Context(), "dpkg-deb", "--field", files[0], "Depends").Output()
		if err != nil {
			tb.Fatal(err)
		}
		for depend := range strings.SplitSeq(string(depends), ", ") {
			name, _, _ := strings.Cut(strings.TrimSpace(depend), " ")
			if !strings.HasPrefix(name, "lib") || exec.CommandContext(tb.Context(), "dpkg-query", "--show", name).Run() == nil {
				continue
			}
			if err := install(tb, name); err != nil {
				Lacking(tb, "%s for the Debian package %s: %v", name, pkg, err)
			}
		}
		if out, err := exec.CommandContext(tb.Context(), "dpkg-deb", "--extract", files[0], root).CombinedOutput(); err != nil {
			tb.Fatalf("dpkg-deb --extract: %v\n%s", err, out)
		}
	}
	return root
}
