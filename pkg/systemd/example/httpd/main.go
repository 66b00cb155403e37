// Httpd serves one page. Restart it, reload it, kill it: no client notices.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"greetd.example/pkg/systemd"
)

func main() {
	do := serve
	if len(os.Args) > 1 && os.Args[1] == "reload" {
		do = systemd.RequestReload
	}
	if err := do(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "httpd:", err)
		os.Exit(1)
	}
}

func serve(ctx context.Context) error {
	svc, err := systemd.Start(ctx)
	if err != nil {
		return err
	}
	defer svc.Close()
	ln, err := svc.Listen("web", ":8080")
	if err != nil {
		return err
	}
	var page atomic.Value
	load := func(context.Context) error {
		text, err := os.ReadFile("/etc/httpd/page.html")
		if err == nil {
			page.Store(text)
		}
		return err
	}
	if err := errors.Join(load(ctx), svc.AcceptReloads()); err != nil {
		return err
	}
	svc.OnReload(load)
	svc.Watchdog(func(context.Context) error { // one that does not return counts as a hang
		answer, err := http.Head("http://" + ln.Addr().String())
		if err == nil {
			err = answer.Body.Close()
		}
		return err
	})
	write := func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(page.Load().([]byte)) }
	return svc.Run(&http.Server{Handler: http.HandlerFunc(write), ReadHeaderTimeout: 5 * time.Second}, ln)
}
