package admin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"greetd.example/pkg/systemd"
)

// maxSocketPath is the length of sun_path in sockaddr_un without the NUL at its end (unix(7)).
const maxSocketPath = len(syscall.RawSockaddrUnix{}.Path) - 1

// Listen listens on address: "unix:/path" or "host:port".
//
// A socket file has mode 0600 as soon as it exists, with any umask. Listen replaces a socket file that a
// crash has left behind; if several daemons try this at once, only one succeeds. It returns an error if
// another program listens on the socket, or if the file is not a socket. Close removes the file, unless
// another file has replaced it.
func Listen(address string) (net.Listener, error) {
	ln, err := listen(address)
	if err != nil {
		return nil, fmt.Errorf("listen on %s for admin: %w", address, err)
	}
	return ln, nil
}

func listen(address string) (net.Listener, error) {
	path, isUnix := strings.CutPrefix(address, "unix:")
	if isUnix {
		return listenUnix(path)
	}
	if _, _, err := net.SplitHostPort(address); err != nil {
		return nil, errors.New("want unix:/path or host:port")
	}
	ln, err := new(net.ListenConfig).Listen(context.Background(), "tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, remedy(err, "another program listens there; choose another port in admin.address")
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, remedy(err, "this machine does not have the address; see ip address")
	case errors.Is(err, syscall.EACCES):
		return nil, remedy(err, "ports below 1024 are privileged; choose a higher one in admin.address")
	}
	return ln, err
}

// remedy reduces a network error to the error of the kernel, and adds advice.
func remedy(err error, advice string) error {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		err = errno
	}
	return fmt.Errorf("%w: %s", err, advice)
}

func listenUnix(path string) (net.Listener, error) {
	if !filepath.IsAbs(path) {
		return nil, errors.New("the path must be absolute")
	}
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("the path has %d bytes and the kernel takes %d: choose a shorter one", len(path), maxSocketPath)
	}
	release, err := systemd.ReserveUnixPath(context.Background(), path)
	if err != nil {
		return nil, explainReserve(err, path)
	}
	defer release()

	// Linux gives the file the mode of the socket at the time of bind, less the umask. So other users
	// can't connect at any time.
	config := net.ListenConfig{Control: func(_, _ string, socket syscall.RawConn) error {
		var err error
		if failed := socket.Control(func(fd uintptr) { err = syscall.Fchmod(int(fd), 0o600) }); failed != nil {
			return failed
		}
		return err
	}}
	ln, err := config.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, explainFile(err, path)
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false) // it would also remove the file of another listener
	own := &socketFile{Listener: ln, path: path}
	if err = os.Chmod(path, 0o600); err == nil { // with a umask of 0777, our own user could not connect
		own.info, err = os.Lstat(path)
	}
	if err != nil {
		_ = ln.Close()
		return nil, err
	}
	return own, nil
}

// explainReserve adds the remedy to an error of systemd.ReserveUnixPath.
func explainReserve(err error, path string) error {
	_, ofFile := errors.AsType[*fs.PathError](err)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return remedy(err, "another daemon listens there; stop it, or choose another path in admin.address")
	case errors.Is(err, syscall.EEXIST):
		return errors.New("there is a file that is not a socket: remove it, or choose another path in admin.address")
	case errors.Is(err, fs.ErrPermission) && !ofFile: // from connect
		return remedy(err, "the socket there is another's; choose another path in admin.address")
	}
	return explainFile(err, path)
}

// explainFile adds the remedy to an error of creating a file in the directory of path.
func explainFile(err error, path string) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return remedy(err, "create the directory "+filepath.Dir(path)+" first, or have systemd do it with RuntimeDirectory=")
	case errors.Is(err, fs.ErrPermission):
		return remedy(err, "the service's user must own the directory "+filepath.Dir(path))
	}
	return remedy(err, "choose another path in admin.address")
}

// A socketFile is a unix listener that removes its file when it is closed, unless another file has
// replaced it.
type socketFile struct {
	net.Listener

	path string
	info fs.FileInfo
}

// Close removes the file and closes the listener. It removes the file first, so that no client finds a
// file without a listener.
func (s *socketFile) Close() error {
	if now, err := os.Lstat(s.path); err == nil && os.SameFile(s.info, now) {
		_ = os.Remove(s.path)
	}
	return s.Listener.Close()
}
