package service_test

import (
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"greetd.example/pkg/service"
)

// A visit is served by the goroutine of a visit that has ended; only if that one is in use by a new one.
func TestVisitsShareGoroutines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hold := make(chan struct{})
		names := make(chan string, 4)
		srv := &service.Server{Greeter: service.GreeterFunc(func(dst []byte, p service.Peer) ([]byte, error) {
			names <- goroutineName()
			if p.ID == 3 {
				<-hold
			}
			return append(dst, "hello\n"...), nil
		})}
		s := serve(t, srv)
		greetedBy := func() string {
			c := s.dial(t)
			if text, err := io.ReadAll(c); string(text) != "hello\n" || err != nil {
				t.Errorf("a client got %q, %v", text, err)
			}
			_ = c.Close()
			synctest.Wait()
			return <-names
		}

		first, second := greetedBy(), greetedBy()
		if first != second {
			t.Errorf("%s served the first visit, and %s the second", first, second)
		}
		slow := s.dial(t)
		synctest.Wait()
		third, fourth := <-names, greetedBy()
		if third != first || fourth == first {
			t.Errorf("%s served the first visit, %s the slow one, and %s the next", first, third, fourth)
		}
		close(hold)
		if text, err := io.ReadAll(slow); string(text) != "hello\n" || err != nil {
			t.Errorf("the slow client got %q, %v", text, err)
		}
		synctest.Wait()
		if n := strings.Count(allGoroutines(), "(*workers).wait("); n != 1 {
			t.Errorf("%d goroutines wait for visits, want 1", n)
		}
	})
}

// When the accept loop has ended, no goroutine waits for visits, and a visit in progress is still served.
func TestWorkersEndWithTheAcceptLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &service.Server{Greeter: service.GreeterFunc(func(dst []byte, p service.Peer) ([]byte, error) {
			if p.ID == 1 {
				time.Sleep(time.Minute)
			}
			return append(dst, "hello\n"...), nil
		})}
		s := serve(t, srv)
		slow, fast := s.dial(t), s.dial(t)
		if text, err := io.ReadAll(fast); string(text) != "hello\n" || err != nil {
			t.Errorf("a client got %q, %v", text, err)
		}
		_ = fast.Close()
		shut := make(chan error, 1)
		go func() { shut <- srv.Shutdown(t.Context()) }()
		if text, err := io.ReadAll(slow); string(text) != "hello\n" || err != nil {
			t.Errorf("the client in progress got %q, %v", text, err)
		}
		_ = slow.Close()
		if err := <-shut; err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if all := allGoroutines(); strings.Contains(all, "(*workers).") {
			t.Errorf("a goroutine is left:\n%s", all)
		}
	})
}

// goroutineName returns "goroutine N", which the runtime prints at the top of a stack.
func goroutineName() string {
	stack := make([]byte, 64)
	name, _, _ := strings.Cut(string(stack[:runtime.Stack(stack, false)]), " [")
	return name
}

// allGoroutines returns the stacks of all goroutines.
func allGoroutines() string {
	stacks := make([]byte, 1<<20)
	return string(stacks[:runtime.Stack(stacks, true)])
}
