package certificate

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// following is a Follow of one pair.
type following struct {
	pair    *Pair
	renewed chan struct{}
	failed  chan error
}

func follow(t *testing.T, chain, key string) following {
	t.Helper()
	p, chainErr, keyErr := Load("safe", chain, key)
	if chainErr != nil || keyErr != nil {
		t.Fatal(chainErr, keyErr)
	}
	f := following{p, make(chan struct{}, 10), make(chan error, 10)}
	ctx, stop := context.WithCancel(context.Background())
	ended, watches := make(chan struct{}), make(chan struct{}, 1)
	go func() {
		defer close(ended)
		Follow(ctx, func() []*Pair { return []*Pair{p} }, nil, Hooks{
			Renewed: func(*Pair) { f.renewed <- struct{}{} },
			Failed:  func(_ *Pair, err error) { f.failed <- err },
			Checked: func(*Pair) {
				select {
				case watches <- struct{}{}:
				default:
				}
			},
		})
	}()
	t.Cleanup(func() {
		stop()
		<-ended
	})
	<-watches
	return f
}

// serves waits for a renewal, and wants the certificate in a file to be served then.
func (f following) serves(t *testing.T, chain string) {
	t.Helper()
	want, chainErr, keyErr := Load("", chain, strings.TrimSuffix(chain, "pem")+"key")
	if chainErr != nil || keyErr != nil {
		t.Fatal(chainErr, keyErr)
	}
	for !f.pair.Served().Equal(want.Served()) {
		select {
		case <-f.renewed:
		case err := <-f.failed:
			t.Fatal(err)
		case <-time.After(readInterval / 2): // a notification, and not the clock
			t.Fatal("it is not served")
		}
	}
	if served, err := f.pair.Config().GetCertificate(nil); err != nil || !served.Leaf.Equal(want.Served()) {
		t.Errorf("a handshake gets another: %v", err)
	}
}

// named writes a new pair to directory/name.pem and directory/name.key, and returns the first.
func named(t *testing.T, directory, name string) string {
	t.Helper()
	chain, key := pair(t)
	target := filepath.Join(directory, name)
	for from, to := range map[string]string{chain: target + ".pem", key: target + ".key"} {
		must(t, os.Rename(from, to))
	}
	return target + ".pem"
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func overwrite(t *testing.T, from, to string) {
	t.Helper()
	content, err := os.ReadFile(from)
	must(t, err)
	must(t, os.WriteFile(to, content, 0o600))
}

func replaceLink(t *testing.T, target, link string) {
	t.Helper()
	must(t, os.Symlink(target, link+"_tmp"))
	must(t, os.Rename(link+"_tmp", link))
}

func keyOf(chain string) string { return strings.TrimSuffix(chain, "pem") + "key" }

func TestFollow(t *testing.T) {
	for name, renew := range map[string]func(*testing.T){
		"written in place, the certificate first": func(t *testing.T) {
			t.Helper()
			directory := t.TempDir()
			served, next := named(t, directory, "served"), named(t, directory, "next")
			f := follow(t, served, keyOf(served))
			overwrite(t, next, served)
			overwrite(t, keyOf(next), keyOf(served))
			f.serves(t, next)
		},
		"renamed, the key first": func(t *testing.T) {
			t.Helper()
			directory := t.TempDir()
			served, next := named(t, directory, "served"), named(t, directory, "next")
			f := follow(t, served, keyOf(served))
			other := named(t, t.TempDir(), "copy")
			overwrite(t, next, other)
			overwrite(t, keyOf(next), keyOf(other))
			must(t, os.Rename(keyOf(other), keyOf(served)))
			must(t, os.Rename(other, served))
			f.serves(t, next)
		},
		"certbot: links into an archive, replaced one by one": func(t *testing.T) {
			t.Helper()
			directory := t.TempDir()
			must(t, os.Mkdir(filepath.Join(directory, "archive"), 0o700))
			must(t, os.Mkdir(filepath.Join(directory, "live"), 0o700))
			one, two := named(t, filepath.Join(directory, "archive"), "one"), named(t, filepath.Join(directory, "archive"), "two")
			chain, key := filepath.Join(directory, "live", "fullchain.pem"), filepath.Join(directory, "live", "privkey.pem")
			must(t, os.Symlink("../archive/one.pem", chain))
			must(t, os.Symlink("../archive/one.key", key))
			f := follow(t, chain, key)
			f.serves(t, one)
			for link, target := range map[string]string{chain: "../archive/two.pem", key: "../archive/two.key"} {
				must(t, os.Remove(link))
				must(t, os.Symlink(target, link))
			}
			f.serves(t, two)
			overwrite(t, one, two) // what the links lead to is followed, too
			overwrite(t, keyOf(one), keyOf(two))
			f.serves(t, one)
		},
		"Kubernetes: a link to a directory": func(t *testing.T) {
			t.Helper()
			directory := t.TempDir()
			first, second := filepath.Join(directory, "..2026_1"), filepath.Join(directory, "..2026_2")
			must(t, os.Mkdir(first, 0o700))
			must(t, os.Symlink("..2026_1", filepath.Join(directory, "..data")))
			for _, file := range []string{"tls.pem", "tls.key"} {
				must(t, os.Symlink(filepath.Join("..data", file), filepath.Join(directory, file)))
			}
			named(t, first, "tls")
			f := follow(t, filepath.Join(directory, "tls.pem"), filepath.Join(directory, "tls.key"))
			for range 2 { // what is watched moves along
				must(t, os.Mkdir(second, 0o700))
				next := named(t, second, "tls")
				replaceLink(t, filepath.Base(second), filepath.Join(directory, "..data"))
				must(t, os.RemoveAll(first))
				f.serves(t, next)
				first, second = second, filepath.Join(directory, "..2026_3")
			}
		},
		"a directory above is a link": func(t *testing.T) {
			t.Helper()
			directory := t.TempDir()
			for _, name := range []string{"old", "new"} {
				must(t, os.Mkdir(filepath.Join(directory, name), 0o700))
				named(t, filepath.Join(directory, name), "tls")
			}
			must(t, os.Symlink(filepath.Join(directory, "old"), filepath.Join(directory, "current")))
			f := follow(t, filepath.Join(directory, "current", "tls.pem"), filepath.Join(directory, "current", "tls.key"))
			replaceLink(t, "new", filepath.Join(directory, "current"))
			f.serves(t, filepath.Join(directory, "new", "tls.pem"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			renew(t)
		})
	}
}

// What can't be served is reported once, after a while, and what was served stays.
func TestFollowKeepsWhatWorks(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	served, next := named(t, directory, "served"), named(t, directory, "next")
	f := follow(t, served, keyOf(served))
	before := f.pair.Served()
	overwrite(t, next, served)
	err := <-f.failed
	if want := "does not belong to the first certificate"; !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %q", err, want)
	}
	if !f.pair.Served().Equal(before) || len(f.renewed) > 0 {
		t.Error("another certificate is served")
	}
	must(t, os.Remove(served))
	if err = <-f.failed; !strings.Contains(err.Error(), "does not exist") {
		t.Errorf("%v", err)
	}
	overwrite(t, next, served)
	overwrite(t, keyOf(next), keyOf(served))
	f.serves(t, next)
}
