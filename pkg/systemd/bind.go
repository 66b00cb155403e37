package systemd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"greetd.example/pkg/service"
)

const (
	unixPrefix  = "unix:"
	maxUnixPath = 107 // sun_path of unix(7), less its NUL

	// socketMode lets everybody connect: to be greeted needs no permission. Who
	// wants a narrower circle puts the socket into a directory.
	socketMode = 0o666

	lockPatience = 5 * time.Second
	lockPause    = 10 * time.Millisecond
)

// Bind listens on address:
//
//	:10000              every address, IPv4 and IPv6
//	0.0.0.0:10000       every IPv4 address
//	[::]:10000          every IPv6 address, and no IPv4
//	192.0.2.1:10000     this one; so [2001:db8::1]:10000, [fe80::1%eth0]:10000
//	localhost:10000     the first address of the name, IPv4 before IPv6
//	unix:/run/x.sock    a unix socket that everybody may connect to (mode 0666)
//
// TCP sockets have SO_REUSEADDR, and with reusePort SO_REUSEPORT, and the longest
// backlog that net.core.somaxconn allows. A unix socket replaces the file of one
// that nobody listens on any more, and nothing else.
//
// The error is one sentence with its remedy. What the kernel said is in it for
// errors.As, as a syscall.Errno. ctx bounds the lookup of a name, and the wait while
// another process binds a unix socket in the same directory.
func Bind(ctx context.Context, address string, reusePort bool) (Socket, error) {
	s := Socket{Origin: OwnBind, Address: address, ReusePort: reusePort}
	var err error
	if path, isUnix := strings.CutPrefix(address, unixPrefix); isUnix {
		s.Listener, s.file, err = bindUnix(ctx, path, reusePort)
	} else {
		s.Listener, err = bindTCP(ctx, address, reusePort)
	}
	if err != nil {
		return Socket{}, fmt.Errorf("listen on %s: %w", address, explain(err, address))
	}
	return s, nil
}

func bindTCP(ctx context.Context, address string, reusePort bool) (net.Listener, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil || port == "" {
		return nil, errNoAddress
	}
	network := "tcp"
	if ip, err := netip.ParseAddr(host); err == nil && ip.IsUnspecified() {
		network = "tcp6"
		if ip.Is4() {
			network = "tcp4"
		}
	}
	ln, err := listen(ctx, network, address, reusePort)
	if err != nil {
		return nil, err
	}
	return service.Direct(ln), nil
}

var errNoAddress = errors.New("an address is host:port, [v6]:port or unix:/path")

func bindUnix(ctx context.Context, path string, reusePort bool) (net.Listener, *socketFile, error) {
	if !filepath.IsAbs(path) {
		return nil, nil, errors.New("the path of a unix socket must be absolute")
	}
	if len(path) > maxUnixPath {
		return nil, nil, fmt.Errorf("the path of a unix socket has at most %d bytes, and this has %d", maxUnixPath, len(path))
	}
	unlock, err := lockDirectory(ctx, filepath.Dir(path))
	if err != nil {
		return nil, nil, err
	}
	defer unlock()
	if err := removeStale(path); err != nil {
		return nil, nil, err
	}
	ln, err := listen(ctx, "unix", path, reusePort)
	if err != nil {
		return nil, nil, err
	}
	file, err := fileAt(path)
	if err == nil {
		err = os.Chmod(path, socketMode)
	}
	if err != nil {
		_ = ln.Close()
		return nil, nil, err
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false) // from here on, Socket does that
	return ln, &socketFile{fileID: file}, nil
}

// listen is plain TCP, as socket units pass it, not Go's MPTCP, and without
// keep-alive, since no visit lasts that long.
func listen(ctx context.Context, network, address string, reusePort bool) (net.Listener, error) {
	config := net.ListenConfig{KeepAlive: -1}
	config.SetMultipathTCP(false)
	if reusePort {
		config.Control = func(_, _ string, c syscall.RawConn) error {
			var failed error
			err := c.Control(func(fd uintptr) {
				failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
			})
			return errors.Join(err, failed)
		}
	}
	ln, err := config.Listen(ctx, network, address)
	if err != nil {
		return nil, err
	}
	// Go takes the backlog from /proc/sys, which ProcSubset=pid hides, and then it
	// is 128. The kernel itself cuts a larger one to somaxconn.
	if err := control(ln, func(fd int) error { return unix.Listen(fd, math.MaxInt32) }); err != nil {
		_ = ln.Close()
		return nil, err
	}
	return ln, nil
}

// lockDirectory keeps other greetds from binding unix sockets in dir, between our
// look at an old file and its replacement. It leaves no file behind.
func lockDirectory(ctx context.Context, dir string) (unlock func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, lockPatience)
	defer cancel()
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	retry := time.NewTicker(lockPause)
	defer retry.Stop()
	for {
		err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { _ = unix.Close(fd) }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			_ = unix.Close(fd)
			return nil, &fs.PathError{Op: "lock", Path: dir, Err: err}
		}
		select {
		case <-retry.C:
		case <-ctx.Done():
			_ = unix.Close(fd)
			return nil, fmt.Errorf("another process holds the lock on %s: %w", dir, context.Cause(ctx))
		}
	}
}

// removeStale removes the file of a unix socket that nobody listens on. Anything
// else that exists at path stays, and is an error.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%w and is no socket: move it away, or choose another path", unix.EEXIST)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	err = unix.Connect(fd, &unix.SockaddrUnix{Name: path})
	switch {
	case errors.Is(err, unix.ECONNREFUSED):
		return os.Remove(path)
	case errors.Is(err, unix.ENOENT):
		return nil
	case err == nil, errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EPROTOTYPE):
		return unix.EADDRINUSE
	}
	return fmt.Errorf("see whether anybody listens there: %w", err)
}
