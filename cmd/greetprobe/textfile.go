package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// maxLinks is how many symbolic links are followed, as path_resolution(7) has it.
const maxLinks = 40

// writeTextfile writes text beside the file that path leads to, and renames, so that
// nobody reads half of it. It follows symbolic links, and replaces nothing but a
// regular file.
func writeTextfile(path string, text []byte) error {
	target, err := textfileTarget(path)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	// node_exporter reads *.prom only, and as another user.
	file, err := os.CreateTemp(filepath.Dir(target), ".greetprobe-*.tmp")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, bare(err))
	}
	_, err = file.Write(text)
	err = errors.Join(err, file.Chmod(0o644), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), target)
	}
	if err != nil {
		_ = os.Remove(file.Name())
		return fmt.Errorf("write %s: %w", path, bare(err))
	}
	return nil
}

// textfileTarget returns the regular file that path leads to, or where there is none
// yet. What else it may be is refused: to rename over a device or a directory's link
// would take it away from everybody.
func textfileTarget(path string) (string, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return "", bare(err)
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("it is %s, and only a regular file is replaced; --output prom writes to standard output", kindOf(info.Mode()))
	case isStream(info):
		return "", errors.New("it is the standard output or error of greetprobe; write --output prom")
	}
	target := path
	for range maxLinks {
		next, _ := os.Readlink(target)
		if next == "" { // no link, or nothing there
			return target, nil
		}
		if !filepath.IsAbs(next) {
			dir, err := filepath.EvalSymlinks(filepath.Dir(target)) // before Join shortens a ..
			if err != nil {
				return "", bare(err)
			}
			next = filepath.Join(dir, next)
		}
		target = next
	}
	return "", syscall.ELOOP
}

// isStream reports whether a file is where greetprobe writes anyway.
func isStream(file fs.FileInfo) bool {
	for _, stream := range []*os.File{os.Stdout, os.Stderr} {
		if info, err := stream.Stat(); err == nil && os.SameFile(info, file) {
			return true
		}
	}
	return false
}

// kindOf names what is no regular file.
func kindOf(mode fs.FileMode) string {
	switch {
	case mode.IsDir():
		return "a directory"
	case mode&fs.ModeDevice != 0:
		return "a device"
	case mode&fs.ModeNamedPipe != 0:
		return "a pipe"
	case mode&fs.ModeSocket != 0:
		return "a socket"
	}
	return "no regular file"
}

// bare strips from err the name of a file that its reader doesn't know.
func bare(err error) error {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno
	}
	return err
}
