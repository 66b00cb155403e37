package debian

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

const cache = "/var/cache/greetd-e2e" // a file system for each release and list of packages, made once

// Root returns the file system of a Debian release with a comma-separated list of packages, from
// the cache; it must not be changed. Root makes it with debootstrap if it is not there.
func Root(release, packages string) (string, error) {
	name := fmt.Sprintf("%s-%08x", release, crc32.ChecksumIEEE([]byte(packages)))
	return Cached(name, func(made string) error {
		args := []string{"--variant=minbase", "--include=" + packages, release, made, mirror()}
		const scripts = "/usr/share/debootstrap/scripts/"
		if _, err := os.Stat(scripts + release); err != nil { // newer than this debootstrap
			args = append(args, scripts+"sid")
		}
		if out, err := exec.CommandContext(context.Background(), "debootstrap", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("debootstrap %s: %w\n%s", strings.Join(args, " "), err, out)
		}
		return nil
	})
}

// Cached returns the directory of the cache with that name; it must not be changed. What is not
// there is made by fill in an empty directory, and appears under its name when it is whole.
func Cached(name string, fill func(dir string) error) (string, error) {
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	lock, err := os.Create(filepath.Join(cache, name+".lock"))
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := flock(lock); err != nil {
		return "", fmt.Errorf("lock %s: %w", lock.Name(), err)
	}

	dir := filepath.Join(cache, name)
	if _, err := os.Stat(dir); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return dir, err
	}

	fmt.Fprintln(os.Stderr, "making", dir)
	made, err := os.MkdirTemp(cache, "."+name+"-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(made)
	if err := os.Chmod(made, 0o755); err != nil {
		return "", err
	}
	if err := fill(made); err != nil {
		return "", err
	}
	return dir, os.Rename(made, dir)
}

// mirror returns the Debian mirror that this machine itself uses.
func mirror() string {
	sites, _ := exec.CommandContext(context.Background(), "apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages").Output()
	if site := regexp.MustCompile(`(?m)^\S+/debian/?$`).FindString(string(sites)); site != "" {
		return site
	}
	return "http://deb.debian.org/debian"
}
