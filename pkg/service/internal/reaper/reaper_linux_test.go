package reaper

import (
	"errors"
	"os"
	"syscall"
	"testing"
	"time"
)

// Where the poll set can't be waited for any more, that is reported once, and everybody who lingers, or
// comes later, is looked after all the same.
func TestPollSetThatFails(t *testing.T) {
	for name, wrap := range paths {
		t.Run(name, func(t *testing.T) {
			r := newReaping(t, wrap)
			stays, _ := r.add(t, time.Minute)
			if err := r.Alive(t.Context()); err != nil {
				t.Fatalf("Alive = %v", err)
			}
			breakPoll(t, r.Reaper)
			_, _ = stays.Write([]byte("hello")) // an event: the set is looked at
			if err := <-r.failed; !errors.Is(err, syscall.EINVAL) {
				t.Errorf("failed: %v", err)
			}
			if err := r.Alive(t.Context()); !errors.Is(err, syscall.EINVAL) {
				t.Errorf("Alive = %v", err)
			}
			if err := r.Start(); !errors.Is(err, syscall.EINVAL) {
				t.Errorf("Start = %v", err)
			}
			late, _ := r.add(t, time.Minute)
			_ = stays.Close()
			_ = late.Close()
			eventually(t, "both are closed", func() bool { return len(r.closedConns()) == 2 })
		})
	}
}

// breakPoll makes epoll_wait(2) fail: its descriptor is no poll set any more.
func breakPoll(t *testing.T, r *Reaper) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	_ = r.poll.raw.Control(func(set uintptr) { err = syscall.Dup3(int(null.Fd()), int(set), syscall.O_CLOEXEC) })
	if err != nil {
		t.Fatal(err)
	}
	r.poll.setWake(time.Unix(1, 0)) // it comes round
}

// What does not fit into the poll set (ENOSPC of epoll_ctl(2)) is looked after by time.
func TestConnectionsThatDoNotFitIntoThePollSet(t *testing.T) {
	for name, wrap := range paths {
		t.Run(name, func(t *testing.T) {
			r := newReaping(t, wrap)
			p, err := newPoll()
			if err != nil {
				t.Fatal(err)
			}
			p.raw = noRoom{p.raw}
			r.Reaper.mu.Lock() // as Start does
			r.poll, r.waste = p, make([]byte, 64<<10)
			r.running.Go(func() { r.run(p) })
			r.Reaper.mu.Unlock()
			leaves, _ := r.add(t, time.Minute)
			_, second := r.add(t, 300*time.Millisecond) // stays until its time is over
			_, _ = leaves.Write([]byte("hello"))
			time.Sleep(50 * time.Millisecond) // the first check has found nobody gone
			_ = leaves.Close()
			eventually(t, "both are closed", func() bool { return len(r.closedConns()) == 2 })
			if now := time.Now(); now.Before(second.Until) {
				t.Errorf("the one that stayed was closed %v before its time", second.Until.Sub(now))
			}
		})
	}
}

// noRoom is a poll set that admits nobody.
type noRoom struct{ syscall.RawConn }

func (noRoom) Control(func(fd uintptr)) error { return syscall.ENOSPC }
