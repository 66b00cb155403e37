package certificate

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// quietTime is the time without further changes after which the files are read. A renewal often has several
	// steps: two files, or a directory and a link to it.
	quietTime = 100 * time.Millisecond

	// retryTime is the time after a failure until the files are read again. If that fails, too, the failure is
	// reported.
	retryTime = 2 * time.Second

	// readInterval is the time after which the files are read without a notification. Some file systems send no
	// notifications, and there are none for a directory that the user of greetd may not list.
	readInterval = 30 * time.Second
)

// Hooks are the functions to which [Follow] reports. All of them are required.
type Hooks struct {
	Renewed func(*Pair)        // the pair serves another certificate or key
	Failed  func(*Pair, error) // the files have changed, and can't be served; called once for each error
	Checked func(*Pair)        // the files were read; for checks that depend on the time
}

// Follow renews pairs when their files change, until ctx is done. pairs returns the pairs that are served, and again
// receives a value when these are other pairs than before. A file may be written or renamed, or a symbolic link to it
// may be replaced, as certbot, cert-manager and Kubernetes do.
func Follow(ctx context.Context, pairs func() []*Pair, again <-chan struct{}, hooks Hooks) {
	f := follower{hooks: hooks}
	defer func() {
		if f.watcher != nil {
			_ = f.watcher.Close()
		}
	}()
	for {
		now := pairs()
		f.watch(now) // before read, so that no change is missed
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
	watcher  *fsnotify.Watcher // nil: there was nothing to watch yet, or the system allows no more watchers
	paths    map[string]bool   // a change of one of these paths can be a renewal
	failures map[*Pair]failure
	retry    bool // a failure is not reported yet
}

// A failure has the state of a pair whose files can't be served at present.
type failure struct {
	since    time.Time
	reported string // the error that was reported; "" if none was
}

// read reads the files of all pairs, and calls the hooks.
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

// failed reports err if the failure has lasted for retryTime. Before that, the renewal may not be complete.
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

// watch makes the watcher watch the files of pairs, and the symbolic links that lead to them.
func (f *follower) watch(pairs []*Pair) {
	f.paths = make(map[string]bool)
	for _, p := range pairs {
		for _, file := range []string{p.ChainFile, p.KeyFile} {
			if filepath.IsAbs(file) {
				addWay(f.paths, file)
			}
		}
	}
	if f.watcher == nil && len(f.paths) > 0 {
		f.watcher, _ = fsnotify.NewWatcher() // without a watcher, the files are read every readInterval
	}
	if f.watcher == nil {
		return
	}
	directories := make(map[string]bool)
	for path := range f.paths {
		directories[filepath.Dir(path)] = true
	}
	for _, watched := range f.watcher.WatchList() {
		if !directories[watched] {
			_ = f.watcher.Remove(watched)
		}
	}
	for directory := range directories {
		_ = f.watcher.Add(directory) // add it again, since a new directory may have this name
	}
}

// wait returns when a watched path has changed and there was no further change for quietTime, when it is time to read
// again, when again receives a value, or when ctx is done.
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
		case _, ok := <-failures: // usually an overflow of the queue: a change can be lost
			if ok {
				due.Reset(quietTime)
			}
		case event := <-events:
			if f.paths[event.Name] {
				due.Reset(quietTime)
			}
		}
	}
}

// mostLinks is the maximum number of symbolic links that the kernel follows (path_resolution(7)).
const mostLinks = 40

// addWay adds to paths all paths whose change can make path another file: each symbolic link that leads to the file,
// and the file itself.
func addWay(paths map[string]bool, path string) {
	path = filepath.Clean(path)
	for range mostLinks {
		link, target := firstLink(path)
		if link == "" {
			paths[path] = true
			return
		}
		paths[link] = true
		rest := strings.TrimPrefix(path, link)
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(link), target)
		}
		path = filepath.Join(target, rest)
	}
}

// firstLink returns the first symbolic link among the directories above path and path itself, and its target. link is
// "" if there is none.
func firstLink(path string) (link, target string) {
	for i := 1; i <= len(path); i++ {
		if i < len(path) && path[i] != filepath.Separator {
			continue
		}
		if target, err := os.Readlink(path[:i]); err == nil {
			return path[:i], target
		}
	}
	return "", ""
}
