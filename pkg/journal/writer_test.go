//go:build linux

package journal

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestCut(t *testing.T) {
	for _, test := range []struct {
		text  string
		limit int
		want  string
	}{
		{"short", 5, "short"},
		{"too long", 6, "too…"},
		{"ääää", 6, "ä…"},
		{"ääää", 3, "…"},
	} {
		if got := string(Cut([]byte(test.text), test.limit)); got != test.want {
			t.Errorf("Cut(%q, %d) = %q, want %q", test.text, test.limit, got, test.want)
		}
	}
}

// counter counts what becomes of entries.
type counter struct {
	written, dropped atomic.Uint64
}

func (c *counter) hooks() Hooks[int] {
	return Hooks[int]{
		Next: func(State) (int, bool, time.Time) { return 0, false, time.Time{} },
		Done: func(_ int, written bool) {
			if written {
				c.written.Add(1)
			} else {
				c.dropped.Add(1)
			}
		},
		Failing:   func(string, error) {},
		Recovered: func(string, time.Duration, error) {},
	}
}

// to returns an output that has an entry in each line.
func to(conn Conn) *Output[int] {
	return &Output[int]{Name: "test", Conn: conn, Limit: 1000, Encode: func(dst []byte, e, _ int) []byte {
		return fmt.Appendf(dst, "%d\n", e)
	}}
}

// TestFullPipe writes to a pipe that nobody reads, then reads it: one that can be opened
// once more, and one that can't and is left blocking for whoever shares it.
func TestFullPipe(t *testing.T) {
	for _, shared := range []bool{false, true} {
		var pipe [2]int
		if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		near, far := os.NewFile(uintptr(pipe[0]), "near"), os.NewFile(uintptr(pipe[1]), "far")
		defer near.Close()
		conn, err := OpenStream(far)
		if err != nil {
			t.Fatal(err)
		}
		if shared {
			conn.Close()
			conn = &Stream{file: far, fd: pipe[1], kind: unix.S_IFIFO}
		}
		var count counter
		w, err := NewWriter(to(conn), count.hooks())
		if err != nil {
			t.Fatal(err)
		}
		const sent = 10 * QueueSize
		for i := range sent {
			w.Put(i, false)
		}
		if err := w.Alive(t.Context()); err != nil {
			t.Errorf("shared %t: %v", shared, err)
		}
		lines := make(chan int)
		go func() {
			n := 0
			for scanner := bufio.NewScanner(near); scanner.Scan(); n++ {
			}
			lines <- n
		}()
		if err := w.Close(10 * time.Second); err != nil {
			t.Errorf("shared %t: %v", shared, err)
		}
		far.Close()
		got, dropped := <-lines, int(count.dropped.Load())
		if got+dropped != sent || dropped == 0 || got != int(count.written.Load()) {
			t.Errorf("shared %t: %d lines, %d written and %d dropped of %d", shared, got, count.written.Load(), dropped, sent)
		}
	}
}

// TestSharedPipeNeverBlocks writes an entry that is longer than a pipe holds, and that nobody reads, to
// one that must stay blocking for whoever shares it.
func TestSharedPipeNeverBlocks(t *testing.T) {
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	near, far := os.NewFile(uintptr(pipe[0]), "near"), os.NewFile(uintptr(pipe[1]), "far")
	defer near.Close()
	const length = 200_000
	out := to(&Stream{file: far, fd: pipe[1], kind: unix.S_IFIFO})
	out.Encode = func(dst []byte, _, _ int) []byte { return append(dst, make([]byte, length)...) }
	w, err := NewWriter(out, (&counter{}).hooks())
	if err != nil {
		t.Fatal(err)
	}
	w.Put(1, false)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for range 3 { // the first may be answered before the entry
		if err := w.Alive(ctx); err != nil {
			t.Error(err)
		}
	}
	read := make(chan int64)
	go func() {
		n, _ := io.Copy(io.Discard, near)
		read <- n
	}()
	if err := w.Close(10 * time.Second); err != nil {
		t.Error(err)
	}
	far.Close()
	if n := <-read; n != length {
		t.Errorf("read %d bytes, want %d", n, length)
	}
}

// closable is a Conn that remembers that it was closed.
type closable struct {
	Conn
	closed bool
}

func (c *closable) Close() error {
	c.closed = true
	return nil
}

// TestWriterThatGivesUpClosesEveryOutput gives up with an output that it had no time to
// use.
func TestWriterThatGivesUpClosesEveryOutput(t *testing.T) {
	before, opened := &closable{}, &closable{}
	var count counter
	w, err := newWriter(to(before), count.hooks())
	if err != nil {
		t.Fatal(err)
	}
	defer w.signal.Close()
	w.Use(to(opened))
	w.Put(1, false)
	w.giveUp(2)
	if !before.closed || !opened.closed || count.dropped.Load() != 2 {
		t.Errorf("closed: the old output %t, the new one %t, want both; %d dropped, want 2", before.closed, opened.closed, count.dropped.Load())
	}
}
