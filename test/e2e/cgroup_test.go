package e2e

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// groups returns the folder of a run's control groups, one for each machine: two systemds
// in one group would take each other's processes for their own.
func groups(scratch string) string {
	mount := "/sys/fs/cgroup"
	if unified := filepath.Join(mount, "unified"); exists(unified) {
		mount = unified // the hybrid layout
	}
	return filepath.Join(mount, filepath.Base(scratch))
}

// newGroup makes a control group for one machine. The caller removes it.
func newGroup(t *testing.T, name string) *os.File {
	t.Helper()
	dir := filepath.Join(groups(os.Getenv(insideEnv)), name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	group, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return group
}

// removeGroup removes a control group and those in it, as soon as their processes are gone.
func removeGroup(dir string) {
	for range 100 {
		var inner []string
		_ = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.IsDir() {
				inner = append(inner, path)
			}
			return nil
		})
		for _, path := range slices.Backward(inner) {
			_ = os.Remove(path)
		}
		if !exists(dir) {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
