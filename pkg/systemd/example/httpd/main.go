// Httpd serves one page. Restart it, reload it, kill it: no client notices.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
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
	var page atomic.Pointer[[]byte]
	load := func(context.Context) error {
		text, err := os.ReadFile("/etc/httpd/page.html")
		if err == nil {
			page.Store(&text)
		}
		return err
	}
	if err := errors.Join(load(ctx), svc.AcceptReloads()); err != nil {
		return err
	}
	svc.OnReload(load)
	svc.Watchdog(func(ctx context.Context) error { return ask(ctx, ln) })
	return svc.Run(&http.Server{
		ReadHeaderTimeout: 5 * time.Second,
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(*page.Load()) }),
	}, ln)
}

// ask proves that the page is served.
func ask(ctx context.Context, ln net.Listener) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodHead, "http://"+ln.Addr().String(), http.NoBody)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	return answer.Body.Close()
}
