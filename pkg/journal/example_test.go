package journal_test

import (
	"fmt"
	"io"
	"log/slog"
	"os"

	"greetd.example/pkg/journal"
)

// As a service of systemd this logs to journald, elsewhere to stderr:
//
//	$ journalctl -t shop APP_STATUS=404
func ExampleNewHandler() {
	h, err := journal.NewHandler(journal.HandlerOptions{Identifier: "shop", Prefix: "APP_", Stderr: os.Stdout, Fallback: plain})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer h.Close() // writes the entries in the queue, for at most half a second
	slog.SetDefault(slog.New(h))

	slog.Info("listening", "address", "[::]:80")
	slog.Warn("no such page", "path", "/favicon.ico", "status", 404)
	// Output:
	// level=INFO msg=listening address=[::]:80
	// level=WARN msg="no such page" path=/favicon.ico status=404
}

// An entry with a MESSAGE_ID is explained by journalctl -x, if a catalog file in
// /usr/lib/systemd/catalog has a text for it.
func ExampleMessageID() {
	h, err := journal.NewHandler(journal.HandlerOptions{Stderr: os.Stdout, Fallback: plain})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer h.Close()
	diskFull := journal.MessageID("5e1b0fa0ba3a4ec5a1bfe4ab1ea2b8a5")
	slog.New(h).Error("cannot save the order", diskFull, "order", 17)
	// Output:
	// level=ERROR msg="cannot save the order" MESSAGE_ID=5e1b0fa0ba3a4ec5a1bfe4ab1ea2b8a5 order=17
}

// A daemon that exports metrics counts what its log has lost.
func ExampleHandler_Dropped() {
	h, err := journal.NewHandler(journal.HandlerOptions{Stderr: os.Stdout, Fallback: plain})
	if err != nil {
		fmt.Println(err)
		return
	}
	slog.New(h).Info("one")
	if err := h.Close(); err != nil {
		fmt.Println(err)
	}
	slog.New(h).Info("too late")
	fmt.Println("log_entries_dropped_total", h.Dropped())
	// Output:
	// level=INFO msg=one
	// log_entries_dropped_total 1
}

// plain is slog's text without the time.
func plain(w io.Writer) slog.Handler {
	return slog.NewTextHandler(w, &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})
}
