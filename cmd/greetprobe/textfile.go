package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// maxLinks is the maximum number of symbolic links that are followed, the same as in path_resolution(7).
const maxLinks = 40

// writeTextfile replaces the content of the file at path by text. It writes a temporary file in the same directory and
// renames it, so that a reader never sees an incomplete file. It follows symbolic links, and replaces only a regular
// file.
func writeTextfile(path string, text []byte) error {
	target, err := textfileTarget(path)
	if err != nil {
		return err
	}
	// node_exporter reads only *.prom, so the temporary file has another suffix. It runs as another user, so the
	// file must be readable for all.
	file, err := os.CreateTemp(filepath.Dir(target), ".greetprobe-*.tmp")
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	err = errors.Join(err, file.Chmod(0o644), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), target)
	}
	if err != nil {
		_ = os.Remove(file.Name())
	}
	return err
}

// textfileTarget follows the symbolic links of path, and returns the path of a regular file, or one that does not exist
// yet. It returns an error for other kinds of files: a rename would, for example, replace a device for all programs.
func textfileTarget(path string) (string, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return "", err
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("it is %s, and only a regular file is replaced; --output prom writes to standard output", kindOf(info.Mode()))
	case isStream(info):
		return "", errors.New("it is the standard output or error of greetprobe; write --output prom")
	}
	target := path
	for range maxLinks {
		next, _ := os.Readlink(target)
		if next == "" { // target is no link, or does not exist
			return target, nil
		}
		if !filepath.IsAbs(next) {
			dir, err := filepath.EvalSymlinks(filepath.Dir(target)) // before Join removes a .. together with the name before it, which may be a link
			if err != nil {
				return "", err
			}
			next = filepath.Join(dir, next)
		}
		target = next
	}
	return "", syscall.ELOOP
}

// isStream reports whether a file is standard output or standard error.
func isStream(file fs.FileInfo) bool {
	for _, stream := range []*os.File{os.Stdout, os.Stderr} {
		if info, err := stream.Stat(); err == nil && os.SameFile(info, file) {
			return true
		}
	}
	return false
}

// kindOf returns the kind of a file that is not a regular file, in words.
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

// bare returns the errno in err, if there is one, without the path of the file, which the user has not named.
func bare(err error) error {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno
	}
	return err
}
