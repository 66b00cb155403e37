//go:build !386 && !s390x

package direct_test

import (
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"greetd.example/pkg/service/internal/direct"
)

// While somebody uses a descriptor, nobody else does, and it is not closed: its number would go to
// another client at once.
func TestADescriptorHasOneUserAtATime(t *testing.T) {
	ln := listen(t, "tcp", "127.0.0.1:0")
	for name, use := range map[string]func(c *direct.Conn){
		"Close":            func(c *direct.Conn) { _ = c.Close() },
		"CloseWrite":       func(c *direct.Conn) { _ = c.CloseWrite() },
		"Control":          func(c *direct.Conn) { _ = c.Control(func(int) {}) },
		"Discard":          func(c *direct.Conn) { _, _ = c.Discard(make([]byte, 1)) },
		"Ends":             func(c *direct.Conn) { _, _ = c.Ends(true) },
		"Read":             func(c *direct.Conn) { _, _ = c.Read(make([]byte, 1)) },
		"SetWriteDeadline": func(c *direct.Conn) { _ = c.SetWriteDeadline(time.Now()) },
		"SyscallConn":      func(c *direct.Conn) { _, _ = c.SyscallConn() },
		"Write":            func(c *direct.Conn) { _, _ = c.Write([]byte("x")) },
		"WriteNow":         func(c *direct.Conn) { _, _ = c.WriteNow([]byte("x")) },
	} {
		t.Run(name, func(t *testing.T) {
			client, accepted := accepted(t, ln)
			_, _ = client.Write([]byte("x")) // Read has something
			server := accepted.(*direct.Conn)
			var begun, ended atomic.Bool
			done := make(chan struct{})
			_ = server.Control(func(fd int) {
				go func() {
					defer close(done)
					begun.Store(true)
					use(server)
					ended.Store(true)
				}()
				for rounds := 0; rounds < 1000; runtime.Gosched() {
					if begun.Load() { // without a lock, it has ended a moment later
						rounds++
					}
				}
				if ended.Load() {
					t.Error("it did not wait for who uses the descriptor")
				}
				if _, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_GETFD, 0); errno != 0 {
					t.Errorf("the descriptor was closed while it was used: %v", errno)
				}
			})
			<-done
		})
	}
}
