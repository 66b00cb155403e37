// Tableflip is a web page whose listener survives a reload, by
// github.com/cloudflare/tableflip as its documentation shows it. docs/drill.md compares it.
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/cloudflare/tableflip"
)

func main() {
	if err := serve(); err != nil {
		fmt.Fprintln(os.Stderr, "tableflip:", err)
		os.Exit(1)
	}
}

func serve() error {
	upg, err := tableflip.New(tableflip.Options{PIDFile: "/run/tableflip/pid"})
	if err != nil {
		return err
	}
	defer upg.Stop()
	go func() {
		hangup := make(chan os.Signal, 1)
		signal.Notify(hangup, syscall.SIGHUP)
		for range hangup {
			if err := upg.Upgrade(); err != nil {
				fmt.Fprintln(os.Stderr, "tableflip: upgrade:", err)
			}
		}
	}()
	ln, err := upg.Listen("tcp", ":8082")
	if err != nil {
		return err
	}
	server := &http.Server{
		ReadHeaderTimeout: 5 * time.Second,
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("hello\n")) }),
	}
	go func() { _ = server.Serve(ln) }()
	if err := upg.Ready(); err != nil {
		return err
	}
	<-upg.Exit()
	return server.Shutdown(context.Background())
}
