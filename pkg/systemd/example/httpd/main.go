// Httpd serves one page. No client is lost if you restart it, reload it or kill it.
package main

import (
	"context"
	"errors"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"greetd.example/pkg/systemd"
)

func main() { os.Exit(systemd.Main(serve)) }

func serve(ctx context.Context, svc *systemd.Service) error {
	var page atomic.Value
	load := func(context.Context) error {
		text, err := os.ReadFile("/etc/httpd/page.html")
		if err == nil {
			page.Store(text)
		}
		return err
	}
	ln, err := svc.Listen("web", ":8080")
	if err := errors.Join(err, load(ctx)); err != nil {
		return err
	}
	svc.OnReload(load)
	svc.Watchdog(func(context.Context) error {
		answer, err := http.Head("http://" + ln.Addr().String()) //nolint:noctx // a hang sends no WATCHDOG=1
		if err == nil {
			err = answer.Body.Close()
		}
		return err
	})
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(page.Load().([]byte)) })
	return svc.Run(&http.Server{ReadHeaderTimeout: time.Minute, Handler: handler}, ln)
}
