package service

import (
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"testing"
	"time"
)

func TestPatienceFollowsTheClients(t *testing.T) {
	patience := leastPatience
	for _, step := range []struct {
		all, gone int
		want      time.Duration
	}{
		{1, 1, 2 * time.Millisecond},
		{1, 0, 4 * time.Millisecond},
		{100, 49, 8 * time.Millisecond},
		{100, 50, 4 * time.Millisecond},
		{3, 1, 8 * time.Millisecond},
	} {
		if patience = follow(patience, step.all, step.gone); patience != step.want {
			t.Fatalf("patience is %v when %d of %d have left, want %v", patience, step.gone, step.all, step.want)
		}
	}
	for range 20 {
		patience = follow(patience, 1, 0)
	}
	if patience != mostPatience {
		t.Errorf("patience grows to %v, want %v", patience, mostPatience)
	}
}

// unwatched serves with a reaper that never looks by itself.
func unwatched(t *testing.T, srv *Server) (dial func() net.Conn) {
	t.Helper()
	srv.init()
	srv.reaper.patience = time.Hour
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- srv.Serve(Listener{Listener: Direct(tcp), Name: "greet"}) }()
	t.Cleanup(func() {
		_ = srv.Close()
		if err := <-ended; !errors.Is(err, ErrClosed) {
			t.Errorf("Serve returned %v", err)
		}
	})
	return func() net.Conn {
		c, err := net.Dial("tcp", tcp.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		return c
	}
}

// hear reads the greeting to its end.
func hear(t *testing.T, c net.Conn) {
	t.Helper()
	if text, err := io.ReadAll(c); len(text) == 0 || err != nil {
		t.Fatalf("greeting %q, %v", text, err)
	}
}

// Where all places are taken, those who have left give way before one who lingers, even if
// the reaper has not seen yet that they have.
func TestWhoHasLeftGivesWayFirst(t *testing.T) {
	gaveWay := make(chan string, 3)
	srv := &Server{MaxConns: 2, LingerTimeout: time.Minute, Admit: func(p Peer) (func(), error) {
		return func() { gaveWay <- p.Remote.String() }, nil
	}}
	dial := unwatched(t, srv)
	stays, leaves := dial(), dial()
	hear(t, stays)
	hear(t, leaves)
	_ = leaves.Close()
	hear(t, dial())
	if first := <-gaveWay; first != leaves.LocalAddr().String() {
		t.Errorf("%s gave way, want %s, who has left; %s stays", first, leaves.LocalAddr(), stays.LocalAddr())
	}
}

// Who is greeted while Shutdown waits is looked at soon, too.
func TestShutdownWaitsForNobodyWhoHasLeft(t *testing.T) {
	inside, goOn := make(chan struct{}, 1), make(chan struct{}, 1)
	goOn <- struct{}{}
	srv := &Server{LingerTimeout: time.Hour, Admit: func(Peer) (func(), error) {
		inside <- struct{}{}
		<-goOn
		return nil, nil
	}}
	dial := unwatched(t, srv)
	first := dial()
	hear(t, first)
	<-inside
	_ = first.Close()

	last := dial()
	<-inside
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	ended := make(chan error)
	go func() { ended <- srv.Shutdown(ctx) }()
	for waiting := 0; waiting == 0; runtime.Gosched() {
		srv.mu.Lock()
		waiting = srv.waiters
		srv.mu.Unlock()
	}
	goOn <- struct{}{}
	hear(t, last)
	_ = last.Close()
	if err := <-ended; err != nil {
		t.Errorf("Shutdown waited to its end: %v", err)
	}
}
