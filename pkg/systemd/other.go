//go:build !linux

package systemd

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
)

// Where there is no systemd, nothing is passed, nobody is notified, and sockets are bound
// as the net package does it.

func listen(ctx context.Context, network, address string, _ ListenConfig) (net.Listener, error) {
	return (&net.ListenConfig{}).Listen(ctx, network, address)
}

func explain(err error, _ string) error { return err }

func fileAt(path string) (fileID, error) {
	_, err := os.Lstat(path)
	return fileID{}, err
}

func lchgrp(path string, group int) error { return os.Lchown(path, -1, group) }

func shutdownLater(net.Listener) (func(), error) { return func() {}, nil }

func (openSocket) isIPv6Only() bool { return false }

func clientWaits(net.Listener) bool { return false }

func inheritAll() ([]openSocket, []*os.File, error) { return nil, nil, nil }

// NewNotifier returns nil.
func NewNotifier() (*Notifier, error) { return nil, nil }

func (n *Notifier) sendRights([]int, ...string) error { return nil }

func monotonicTime() string { return "" }

func watchdogInterval() (time.Duration, error) { return 0, nil }

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
