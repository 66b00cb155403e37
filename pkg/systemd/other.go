//go:build !linux

package systemd

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
	"time"
)

// Where there is no systemd, nothing is passed, nobody is notified, and sockets are bound
// as the net package does it.

type fileID struct{ device, inode uint64 }

func (s openSocket) isLost() bool { return s.lost }

func lchgrp(path string, group int) error { return os.Lchown(path, -1, group) }

func (fileID) remove(path string) error { return os.Remove(path) }

func shutdownLater(net.Listener) (func(), error) { return func() {}, nil }

func (openSocket) isIPv6Only() bool { return false }

func clientWaits(net.Listener) bool { return false }

func inheritAll() (passedOn, error) { return passedOn{}, nil }

// NewNotifier returns nil.
func NewNotifier() (*Notifier, error) { return nil, nil }

// Barrier does nothing.
func (n *Notifier) Barrier(context.Context) error { return nil }

func (n *Notifier) sendDescriptor(any, ...string) error { return nil }

func (n *Notifier) close() error { return nil }

func (n *Notifier) send(...string) error { return nil }

func monotonicTime() string { return "" }

func watchdogInterval() (time.Duration, error) { return 0, nil }

// bindSocket listens as config says, without any service manager. ReusePort and Backlog have
// no effect here. The error is one sentence.
func bindSocket(ctx context.Context, config ListenConfig) (openSocket, error) {
	s := openSocket{Origin: OwnBind, Address: config.Address, ReusePort: config.ReusePort}
	var err error
	if path, isUnix := strings.CutPrefix(config.Address, unixPrefix); isUnix {
		s.Listener, err = bindUnix(ctx, path, config)
		s.file = &socketFile{}
	} else {
		network := networkOf(config.Address)
		s.Listener, err = (&net.ListenConfig{}).Listen(ctx, network, config.Address)
	}
	if err != nil {
		return openSocket{}, fmt.Errorf("listen on %s: %w", config.Address, err)
	}
	return s, nil
}

func bindUnix(ctx context.Context, path string, config ListenConfig) (net.Listener, error) {
	if !filepath.IsAbs(path) {
		return nil, errRelative
	}
	release, err := ReserveUnixPath(ctx, path)
	if err != nil {
		return nil, err
	}
	defer release()
	ln, err := (&net.ListenConfig{}).Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false) // openSocket does that
	if err := setPermissions(path, config); err != nil {
		return nil, errors.Join(err, ln.Close(), os.Remove(path))
	}
	return ln, nil
}

// ReserveUnixPath removes the file of a unix socket that nobody listens on any more. Here it
// has no lock.
func ReserveUnixPath(ctx context.Context, path string) (release func(), err error) {
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() == fs.ModeSocket {
		if c, err := (&net.Dialer{}).DialContext(ctx, "unix", path); err == nil {
			_ = c.Close()
			return nil, syscall.EADDRINUSE
		}
		_ = os.Remove(path)
	}
	return func() {}, nil
}

func (s openSocket) deferAccept(bool) {}

func (s openSocket) reconfigure(config ListenConfig) (undo func(), err error) {
	undo = func() {}
	if path, isUnix := strings.CutPrefix(s.Address, unixPrefix); isUnix && s.file != nil {
		return undo, setPermissions(path, config)
	}
	return undo, nil
}

// AcceptReloads does nothing.
func (s *Service) AcceptReloads() error { return nil }

// RequestReload is an error: there is no ExecReload= here.
func RequestReload(context.Context) error { return errors.ErrUnsupported }

// InterfaceNumber is the number of the network interface of that name.
func InterfaceNumber(name string) (int, error) {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return 0, err
	}
	return i.Index, nil
}
