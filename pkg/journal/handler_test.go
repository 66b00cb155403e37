//go:build linux

package journal_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/slogtest"
	"time"

	"greetd.example/internal/test/journald"
	"greetd.example/pkg/journal"
)

// handlerTo opens a Handler to j, with stderr in a file.
func handlerTo(t *testing.T, j *journald.Journal, o journal.HandlerOptions) *journal.Handler {
	t.Helper()
	file, err := os.Create(t.TempDir() + "/stderr")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	o.Socket, o.Stderr = j.Path, file
	if o.Identifier == "" {
		o.Identifier = "app"
	}
	h, err := journal.NewHandler(o)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// TestHandlerIsASlogHandler lets the standard library look.
func TestHandlerIsASlogHandler(t *testing.T) {
	var j *journald.Journal
	var h *journal.Handler
	slogtest.Run(t, func(t *testing.T) slog.Handler {
		t.Helper()
		j = journald.Start(t).Run()
		h = handlerTo(t, j, journal.HandlerOptions{})
		return h
	}, func(t *testing.T) map[string]any {
		t.Helper()
		if err := h.Close(); err != nil {
			t.Error(err)
		}
		return record(j.Wait(1)[0])
	})
}

// record returns e as slogtest wants to see it.
func record(e journald.Fields) map[string]any {
	r := map[string]any{}
	for name, value := range e {
		switch name {
		case "MESSAGE":
			r[slog.MessageKey] = value
		case "PRIORITY":
			r[slog.LevelKey] = value
		case "SYSLOG_TIMESTAMP":
			r[slog.TimeKey] = value
		case "SYSLOG_IDENTIFIER":
		default:
			in := r
			path := strings.Split(name, "_")
			for _, group := range path[:len(path)-1] {
				inner, ok := in[group].(map[string]any)
				if !ok {
					inner = map[string]any{}
					in[group] = inner
				}
				in = inner
			}
			in[strings.ToLower(path[len(path)-1])] = value
		}
	}
	return r
}

// TestHandlerOnStderrIsASlogHandler does so where there is no journal.
func TestHandlerOnStderrIsASlogHandler(t *testing.T) {
	var h *journal.Handler
	var near, far *os.File
	slogtest.Run(t, func(t *testing.T) slog.Handler {
		t.Helper()
		var err error
		if near, far, err = os.Pipe(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { near.Close(); far.Close() })
		h, err = journal.NewHandler(journal.HandlerOptions{Stderr: far, Fallback: func(w io.Writer) slog.Handler { return slog.NewJSONHandler(w, nil) }})
		if err != nil {
			t.Fatal(err)
		}
		return h
	}, func(t *testing.T) map[string]any {
		t.Helper()
		if err := h.Close(); err != nil {
			t.Error(err)
		}
		var r map[string]any
		if err := json.NewDecoder(near).Decode(&r); err != nil {
			t.Fatal(err)
		}
		return r
	})
}

func TestHandlerFields(t *testing.T) {
	j := journald.Start(t).Run()
	h := handlerTo(t, j, journal.HandlerOptions{Level: slog.LevelDebug, Prefix: "APP_"})
	log := slog.New(h)
	at := time.Date(2026, 11, 23, 14, 5, 6, 0, time.UTC)
	log.With("user", "me\nyou").WithGroup("http").Warn("odd\n<0>request", "status-code", 404, "error", errors.New("no such page"),
		"took", 1500*time.Millisecond, "at", at, "body", []byte("\x00\xff"), "MESSAGE_ID", "in a group", slog.Group("tls", "on", true))
	log.Info("ready", journal.MessageID("4dd595cb5c504bc0a0e512e0ad8dc92d"), "priority", 0, "nothing", nil, "", "no name")
	if err := h.Close(); err != nil {
		t.Error(err)
	}
	got := j.Wait(2)
	for i, want := range []journald.Fields{{
		"MESSAGE": "odd\n<0>request", "PRIORITY": "4", "SYSLOG_IDENTIFIER": "app",
		"APP_USER": "me\nyou", "APP_HTTP_STATUS_CODE": "404", "APP_HTTP_ERROR": "no such page", "APP_HTTP_TOOK": "1.5s",
		"APP_HTTP_AT": "2026-11-23T14:05:06Z", "APP_HTTP_BODY": "\x00\xff", "APP_HTTP_MESSAGE_ID": "in a group", "APP_HTTP_TLS_ON": "true",
	}, {
		"MESSAGE": "ready", "PRIORITY": "6", "SYSLOG_IDENTIFIER": "app", "MESSAGE_ID": "4dd595cb5c504bc0a0e512e0ad8dc92d",
		"APP_PRIORITY": "0", "APP_NOTHING": "<nil>", "APP_": "no name",
	}} {
		want["SYSLOG_TIMESTAMP"] = got[i]["SYSLOG_TIMESTAMP"]
		if fmt.Sprint(got[i]) != fmt.Sprint(want) {
			t.Errorf("entry %d: %q\nwant %q", i, got[i], want)
		}
	}
}

// TestHandlerForgesNoField gives attributes names that journald refuses, or that an entry
// has already. The journal of the tests refuses both.
func TestHandlerForgesNoField(t *testing.T) {
	j := journald.Start(t).Run()
	h := handlerTo(t, j, journal.HandlerOptions{})
	slog.New(h).Info("ready", "message", "forged", "priority", 0, "_PID", 1, "9lives", 9, "täg", "ä", strings.Repeat("x", 100), "long")
	slog.New(h).WithGroup(strings.Repeat("g", 100)).Info("group", "key", "value")
	if err := h.Close(); err != nil {
		t.Error(err)
	}
	got := j.Wait(2)
	for name, want := range map[string]string{
		"MESSAGE": "ready", "PRIORITY": "6", "X_MESSAGE": "forged", "X_PRIORITY": "0",
		"X__PID": "1", "X_9LIVES": "9", "T__G": "ä", strings.Repeat("X", 64): "long",
	} {
		if got[0][name] != want {
			t.Errorf("%s = %q, want %q", name, got[0][name], want)
		}
	}
	if name := strings.Repeat("G", 64); got[1][name] != "value" {
		t.Errorf("%q has no %s", got[1], name)
	}
}

func TestHandlerPriorities(t *testing.T) {
	j := journald.Start(t).Run()
	h := handlerTo(t, j, journal.HandlerOptions{Level: slog.LevelInfo, AddSource: true})
	levels := []slog.Level{slog.LevelDebug, slog.LevelInfo, journal.LevelNotice, slog.LevelWarn, slog.LevelError, journal.LevelCritical, 100}
	for _, level := range levels {
		slog.New(h).Log(t.Context(), level, "message")
	}
	if err := h.Close(); err != nil {
		t.Error(err)
	}
	for i, want := range []string{"6", "5", "4", "3", "2", "2"} { // debug is not enabled
		e := j.Wait(1)[0]
		if e["PRIORITY"] != want {
			t.Errorf("%s: PRIORITY=%s, want %s", levels[i+1], e["PRIORITY"], want)
		}
		if !strings.HasSuffix(e["CODE_FILE"], "handler_test.go") || e["CODE_LINE"] == "" || !strings.Contains(e["CODE_FUNC"], "TestHandlerPriorities") {
			t.Errorf("no source in %v", e)
		}
	}
}

// TestStalledJournalBlocksNobody logs far more than the queue holds while nobody reads the
// socket, then reads it: what is stored and what is counted as dropped make up what was sent.
func TestStalledJournalBlocksNobody(t *testing.T) {
	j := journald.Start(t)
	h := handlerTo(t, j, journal.HandlerOptions{})
	log := slog.New(h).With("common", "field")
	const writers, each = 4, 5000
	var running sync.WaitGroup
	for range writers {
		running.Go(func() {
			for i := range each {
				log.Info("message", "number", i)
			}
		})
	}
	running.Wait() // not one of them waits for the journal
	dropped := int(h.Dropped())
	if dropped == 0 || dropped > writers*each-journal.QueueSize {
		t.Errorf("%d entries dropped", dropped)
	}
	for range journal.Reserve {
		log.Warn("there is room for warnings")
	}
	if more := int(h.Dropped()) - dropped; more != 0 {
		t.Errorf("%d warnings dropped", more)
	}
	j.Run()
	stored, reported := 0, 0
	for _, e := range j.Wait(writers*each + journal.Reserve - dropped + 1) {
		if e["DROPPED"] == "" {
			stored++
			continue
		}
		reported += int(e.Number(t, "DROPPED"))
		if e["PRIORITY"] != "4" || !strings.HasSuffix(e["MESSAGE"], " log entries: journald did not accept them in time") {
			t.Errorf("got %v", e)
		}
	}
	if stored+dropped != writers*each+journal.Reserve || reported != dropped {
		t.Errorf("%d stored, %d dropped, %d reported of %d", stored, dropped, reported, writers*each+journal.Reserve)
	}
	if err := h.Close(); err != nil {
		t.Error(err)
	}
	log.Info("after the end")
	if got := int(h.Dropped()) - dropped; got != 1 {
		t.Errorf("%d dropped after Close, want 1", got)
	}
}

// TestCloseOfStalledJournal gives up after FlushTime: what is in the socket and what is
// counted make up what was sent.
func TestCloseOfStalledJournal(t *testing.T) {
	j := journald.Start(t)
	h := handlerTo(t, j, journal.HandlerOptions{})
	const sent = 2000
	for i := range sent {
		slog.New(h).Info("message", "number", i)
	}
	began := time.Now()
	err := h.Close()
	if took := time.Since(began); !errors.Is(err, journal.ErrNotWritten) || took < journal.FlushTime || took > 20*journal.FlushTime {
		t.Errorf("Close returned %v after %v", err, took)
	}
	j.Run()
	j.Wait(sent - int(h.Dropped()))
	if rest := j.All(); len(rest) > 0 || h.Dropped() == 0 {
		t.Errorf("%d dropped, and %d entries too many", h.Dropped(), len(rest))
	}
}

// TestHandlerWithoutJournald logs before there is a journald: stderr has a warning, the
// journal the entry.
func TestHandlerWithoutJournald(t *testing.T) {
	j := journald.Start(t)
	j.Stop()
	near, far, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	defer far.Close()
	h, err := journal.NewHandler(journal.HandlerOptions{Identifier: "app", Socket: j.Path, Stderr: far})
	if err != nil {
		t.Fatal(err)
	}
	slog.New(h).Info("hello")
	line, err := bufio.NewReader(near).ReadString('\n')
	if want := "app: cannot log to journald: connect " + j.Path + ": connection refused;"; err != nil || !strings.HasPrefix(line, want) {
		t.Errorf("stderr has %q, %v; want %q", line, err, want)
	}
	j.Listen()
	if got := j.Run().Wait(1)[0]["MESSAGE"]; got != "hello" {
		t.Errorf("got %q", got)
	}
	if err := h.Close(); err != nil {
		t.Error(err)
	}
}

// TestHandlerCutsBigEntries logs more than a datagram holds.
func TestHandlerCutsBigEntries(t *testing.T) {
	j := journald.Start(t).Run()
	h := handlerTo(t, j, journal.HandlerOptions{})
	var attrs []any
	for i := range 50 {
		attrs = append(attrs, fmt.Sprint("key", i), strings.Repeat("x", 100<<10))
	}
	slog.New(h).Info("big", attrs...)
	if err := h.Close(); err != nil || h.Dropped() > 0 {
		t.Errorf("%v, %d dropped", err, h.Dropped())
	}
	if e := j.Wait(1)[0]; len(e["KEY49"]) < 1000 || !strings.HasSuffix(e["KEY49"], "…") {
		t.Errorf("KEY49 has %d bytes", len(e["KEY49"]))
	}
}

func BenchmarkHandler(b *testing.B) {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer null.Close()
	h, err := journal.NewHandler(journal.HandlerOptions{Socket: "/nonexistent", Stderr: null})
	if err != nil {
		b.Fatal(err)
	}
	log := slog.New(h)
	b.ReportAllocs()
	for b.Loop() {
		log.Info("request", "method", "GET", "status", 200, "took", time.Millisecond)
	}
	_ = h.Close()
}
