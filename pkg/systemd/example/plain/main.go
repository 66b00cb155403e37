// Plain is the same server as httpd without pkg/systemd. It uses go-systemd as its documentation shows.
package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
)

func main() {
	if err := serve(); err != nil {
		fmt.Fprintln(os.Stderr, "plain:", err)
		os.Exit(1)
	}
}

func serve() error {
	listeners, err := activation.Listeners()
	if err != nil {
		return err
	}
	if len(listeners) == 0 {
		ln, err := net.Listen("tcp", ":8081") //nolint:noctx // as its documentation shows it
		if err != nil {
			return err
		}
		listeners = []net.Listener{ln}
	}
	var page atomic.Pointer[[]byte]
	load := func() error {
		text, err := os.ReadFile("/etc/httpd/page.html")
		if err == nil {
			page.Store(&text)
		}
		return err
	}
	if err := load(); err != nil {
		return err
	}
	server := &http.Server{
		ReadHeaderTimeout: 5 * time.Second,
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(*page.Load()) }),
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGHUP)
	go func() { _ = server.Serve(listeners[0]) }()
	_, _ = daemon.SdNotify(false, daemon.SdNotifyReady)
	go func() {
		interval, _ := daemon.SdWatchdogEnabled(false)
		for interval > 0 {
			_, _ = daemon.SdNotify(false, daemon.SdNotifyWatchdog)
			time.Sleep(interval / 2)
		}
	}()
	for s := range signals {
		if s == syscall.SIGTERM {
			break
		}
		_, _ = daemon.SdNotify(false, daemon.SdNotifyReloading)
		if err := load(); err != nil {
			fmt.Fprintln(os.Stderr, "plain: reload:", err)
		}
		_, _ = daemon.SdNotify(false, daemon.SdNotifyReady)
	}
	_, _ = daemon.SdNotify(false, daemon.SdNotifyStopping)
	return server.Shutdown(context.Background())
}
