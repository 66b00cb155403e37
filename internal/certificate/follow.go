package certificate

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// A renewal is often several steps: two files, or a directory and a link to it. They are
	// read when this long nothing has happened.
	quietTime = 100 * time.Millisecond

	// retryTime is how long after a failure the files are read again. What fails then too is reported.
	retryTime = 2 * time.Second

	// readInterval is how often the files are read without a notification: there is none from some
	// file systems, and for a directory that the user of greetd may not list.
	readInterval = 30 * time.Second
)

// Hooks are what [Follow] reports to. All are needed.
type Hooks struct {
	Renewed func(*Pair)        // it serves another certificate or key
	Failed  func(*Pair, error) // its files have changed, and can't be served; once for each error
	Checked func(*Pair)        // its files were read, or it is new: for what depends on the time
}

// Follow renews pairs as their files change, until ctx ends. pairs returns those that are served;
// again receives when they have changed. Files may be written, renamed, or reached by a symbolic link
// that is replaced, as certbot, cert-manager and Kubernetes do.
func Follow(ctx context.Context, pairs func() []*Pair, again <-chan struct{}, hooks Hooks) {
	f := follower{hooks: hooks}
	defer f.close()
	for {
		now := pairs()
		f.watch(now) // first, so that no change is missed
		f.read(now)
		f.wait(ctx, again)
		if ctx.Err() != nil {
			return
		}
	}
}

// A follower has the state of [Follow].
type follower struct {
	hooks    Hooks
	watcher  *fsnotify.Watcher   // nil: nothing to watch, or no more watchers in this system
	paths    map[string]struct{} // a change of one of these is a renewal
	failures map[*Pair]failure
	retry    bool // a failure is not reported yet
}

// A failure is of a pair whose files can't be served at present.
type failure struct {
	since    time.Time
	reported string // the error; "" before
}

// read reads all files.
func (f *follower) read(pairs []*Pair) {
	before := f.failures
	f.failures, f.retry = make(map[*Pair]failure), false
	for _, p := range pairs {
		renewed, err := p.Renew()
		switch {
		case renewed:
			f.hooks.Renewed(p)
		case err != nil:
			f.failures[p] = f.failed(p, before[p], err)
		}
		f.hooks.Checked(p)
	}
}

// failed reports err once it has lasted: before, the other half of a renewal may be on its way.
func (f *follower) failed(p *Pair, before failure, err error) failure {
	now := time.Now()
	if before.since.IsZero() {
		before.since = now
	}
	switch {
	case now.Sub(before.since) < retryTime:
		f.retry = true
	case before.reported != err.Error():
		before.reported = err.Error()
		f.hooks.Failed(p, err)
	}
	return before
}

// watch makes the watcher watch the way to each file.
func (f *follower) watch(pairs []*Pair) {
	f.paths = make(map[string]struct{})
	for _, p := range pairs {
		for _, file := range []string{p.ChainFile, p.KeyFile} {
			if filepath.IsAbs(file) {
				addWay(f.paths, file)
			}
		}
	}
	if len(f.paths) == 0 {
		f.close()
		return
	}
	if f.watcher == nil {
		f.watcher, _ = fsnotify.NewWatcher() // without one the files are read now and then
	}
	if f.watcher == nil {
		return
	}
	directories := make(map[string]struct{})
	for path := range f.paths {
		directories[filepath.Dir(path)] = struct{}{}
	}
	for _, watched := range f.watcher.WatchList() {
		if _, wanted := directories[watched]; !wanted {
			_ = f.watcher.Remove(watched)
		}
	}
	for directory := range directories {
		_ = f.watcher.Add(directory) // again, since a new one may have its name
	}
}

// wait returns when a path that is watched has changed and nothing more happens, when it is time
// to read again, when again receives, or when ctx ends.
func (f *follower) wait(ctx context.Context, again <-chan struct{}) {
	delay := readInterval
	if f.retry {
		delay = retryTime
	}
	due := time.NewTimer(delay)
	defer due.Stop()
	var events chan fsnotify.Event
	var failures chan error
	if f.watcher != nil {
		events, failures = f.watcher.Events, f.watcher.Errors
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-again:
			return
		case <-due.C:
			return
		case _, ok := <-failures: // an overflow at most
			if ok {
				due.Reset(quietTime)
			}
		case event := <-events:
			if _, ours := f.paths[event.Name]; ours {
				due.Reset(quietTime)
			}
		}
	}
}

func (f *follower) close() {
	if f.watcher != nil {
		_ = f.watcher.Close()
		f.watcher = nil
	}
}

// mostLinks is how many symbolic links the kernel follows (path_resolution(7)).
const mostLinks = 40

// addWay adds to paths what must change for path to become another file: the file itself, each
// symbolic link on the way to it, and the file that each leads to.
func addWay(paths map[string]struct{}, path string) {
	path = filepath.Clean(path)
	for range mostLinks {
		link, target := firstLink(path)
		if link == "" {
			paths[path] = struct{}{}
			return
		}
		paths[link] = struct{}{}
		rest := strings.TrimPrefix(path, link)
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(link), target)
		}
		path = filepath.Join(target, rest)
	}
}

// firstLink returns the first symbolic link among path and the directories above it, and what it
// says; link is "" if there is none.
func firstLink(path string) (link, target string) {
	for i := 1; i <= len(path); i++ {
		if i < len(path) && path[i] != filepath.Separator {
			continue
		}
		if info, err := os.Lstat(path[:i]); err != nil || info.Mode().Type() != fs.ModeSymlink {
			continue
		}
		if target, err := os.Readlink(path[:i]); err == nil {
			return path[:i], target
		}
	}
	return "", ""
}
