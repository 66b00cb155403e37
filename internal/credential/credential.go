// Package credential reads files that the configuration names by an absolute path, or by the name of a credential
// that systemd passes to the service.
package credential

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"greetd.example/pkg/systemd"
)

// Read reads the file at an absolute path, or else the credential with this name in $CREDENTIALS_DIRECTORY. The file
// must be a regular file of at most limit bytes. The error is written to follow the path in a sentence, and has a
// remedy.
func Read(path string, limit int64) ([]byte, error) {
	directory := systemd.CredentialsDirectory()
	asCredential := !filepath.IsAbs(path)
	if asCredential && directory == "" {
		return nil, errors.New("is the name of a credential, and there is no $CREDENTIALS_DIRECTORY: " +
			"give an absolute path, or LoadCredential= in the unit; beside the daemon, set CREDENTIALS_DIRECTORY=/run/credentials/greetd.service")
	}
	path = Path(path)
	// O_NONBLOCK, since opening a FIFO would wait for a writer.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	switch hidden := systemd.HiddenBy(path); {
	case hidden != "" && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission)):
		name := filepath.Base(path)
		return nil, fmt.Errorf("is hidden from greetd by its unit's sandbox (%s), or does not exist: move it to /etc/greetd, or add LoadCredential=%s:%s to the unit, restart, and write just %s here", hidden, name, path, name)
	case errors.Is(err, fs.ErrNotExist) && asCredential:
		return nil, fmt.Errorf("is not among the credentials in %s: add LoadCredential=%s:/its/path to the unit and restart, or give an absolute path", directory, filepath.Base(path))
	case errors.Is(err, fs.ErrNotExist):
		return nil, errors.New("does not exist: create it, or name another file")
	case errors.Is(err, fs.ErrPermission):
		name := filepath.Base(path)
		return nil, fmt.Errorf("can't be read by user %d, which greetd runs as: add LoadCredential=%s:%s to the unit, restart, and write just %s here", os.Getuid(), name, path, name)
	case err != nil:
		return nil, cantRead(err)
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, cantRead(err)
	case info.IsDir():
		return nil, errors.New("is a directory: name the file in it")
	case !info.Mode().IsRegular():
		return nil, errors.New("is not a regular file: name a regular file")
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	switch {
	case err != nil:
		return nil, cantRead(err)
	case int64(len(data)) > limit:
		return nil, fmt.Errorf("has more than %d bytes: is it the right file?", limit)
	}
	return data, nil
}

// Path returns the path of the file that Read reads.
func Path(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(systemd.CredentialsDirectory(), path)
}

func cantRead(err error) error {
	if failed, ok := errors.AsType[*fs.PathError](err); ok {
		err = failed.Err // the message has the path already
	}
	return fmt.Errorf("can't be read: %w", err)
}
