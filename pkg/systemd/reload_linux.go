package systemd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// reloadDone is the answer of a reload that succeeded; any other is the error.
const reloadDone = "reloaded"

// reloadAddress is an abstract socket, so that nothing is left behind.
func reloadAddress(pid int) *net.UnixAddr {
	return &net.UnixAddr{Net: "unix", Name: fmt.Sprintf("@greetd.example/pkg/systemd/reload/%d", pid)}
}

// AcceptReloads lets [RequestReload] reach this process, until Close. Call it before Ready. Outside
// systemd it does nothing.
func (s *Service) AcceptReloads() error {
	if s.Notifier == nil {
		return nil
	}
	ln, err := net.ListenUnix("unix", reloadAddress(os.Getpid()))
	if err != nil {
		return fmt.Errorf("accept reloads: %w", err)
	}
	s.helpers.Go(func() {
		defer context.AfterFunc(s.ended, func() { _ = ln.Close() })()
		s.acceptReloads(ln.AcceptUnix)
	})
	return nil
}

// acceptReloads answers each connection of accept until that returns net.ErrClosed.
func (s *Service) acceptReloads(accept func() (*net.UnixConn, error)) {
	for {
		c, err := accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // short of descriptors, most likely
			time.Sleep(drainTick)
			continue
		}
		s.helpers.Go(func() { s.answerReload(c) })
	}
}

func (s *Service) answerReload(c *net.UnixConn) {
	defer c.Close()
	if !maySignal(c) {
		return
	}
	answer := reloadDone
	if err := s.Reload(s.ended); err != nil {
		answer = err.Error()
	}
	_, _ = io.WriteString(c, answer)
}

// maySignal reports whether the process at the other end is also allowed to send SIGHUP to this
// process.
func maySignal(c *net.UnixConn) bool {
	var peer *unix.Ucred
	err := control(c, func(fd int) (err error) {
		peer, err = unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
		return err
	})
	return err == nil && (peer.Uid == 0 || int(peer.Uid) == os.Geteuid())
}

// RequestReload is for ExecReload= of a unit. It makes the main process of the service, $MAINPID,
// reload, waits until that is done, and returns the error of the reload. So `systemctl reload`
// waits for the reload, and fails if the reload fails, with every version of systemd. The main
// process must have called [Service.AcceptReloads].
//
// The alternatives are worse: `kill -HUP $MAINPID` returns too early. Type=notify-reload waits, but
// cannot report a failure, and needs systemd 253.
func RequestReload(ctx context.Context) error {
	pid, err := strconv.Atoi(os.Getenv("MAINPID"))
	if err != nil {
		return fmt.Errorf("MAINPID=%q is not a process: call this from ExecReload= of the unit", os.Getenv("MAINPID"))
	}
	c, err := net.DialUnix("unix", nil, reloadAddress(pid))
	if err != nil {
		return fmt.Errorf("ask process %d to reload: %w: it must call AcceptReloads", pid, err)
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })()
	answer, err := io.ReadAll(c)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("wait for the reload of process %d: %w", pid, context.Cause(ctx))
	case err != nil || len(answer) == 0:
		return fmt.Errorf("process %d did not say whether it has reloaded: see its log", pid)
	case string(answer) != reloadDone:
		return errors.New(strings.TrimSpace(string(answer)))
	}
	return nil
}
