// The command slogger logs by pkg/journal: some entries with all that an entry may have;
// or thousands a second for a time, and then writes to a file what that cost:
//
//	slogger [DURATION FILE]
package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"time"

	"greetd.example/pkg/journal"
)

func main() {
	h, err := journal.NewHandler(journal.HandlerOptions{Prefix: "SHOP_"})
	if err != nil {
		panic(err)
	}
	log := slog.New(h)
	if len(os.Args) == 1 {
		log.With("order", 17).WithGroup("http").Warn("no such\npage", "status", 404, "error", errors.New("gone"),
			slog.Group("tls", "version", "1.3"))
		log.Log(context.Background(), journal.LevelNotice, "saved", journal.MessageID("5e1b0fa0ba3a4ec5a1bfe4ab1ea2b8a5"))
		log.Debug("not enabled")
		finish(h)
		time.Sleep(time.Second) // journald looks up who has sent an entry
		return
	}
	duration, err := time.ParseDuration(os.Args[1])
	if err != nil {
		panic(err)
	}
	var result struct {
		Sent, Dropped uint64
		Slowest       time.Duration
	}
	for began := time.Now(); time.Since(began) < duration; time.Sleep(100 * time.Microsecond) {
		for range 5 {
			before := time.Now()
			log.Info("message", "number", result.Sent)
			result.Slowest = max(result.Slowest, time.Since(before))
			result.Sent++
		}
	}
	finish(h)
	result.Dropped = h.Dropped()
	text, err := json.Marshal(result)
	if err == nil {
		err = os.WriteFile(os.Args[2], text, 0o600)
	}
	if err != nil {
		panic(err)
	}
}

func finish(h *journal.Handler) {
	if err := h.Close(); err != nil {
		panic(err)
	}
}
