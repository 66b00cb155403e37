// Package journald stands for journald in tests.
package journald

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"
)

// A Journal reads datagrams from a socket and parses them as the native protocol says.
type Journal struct {
	Path    string
	Conn    *net.UnixConn
	Arrived chan struct{} // has one element for each entry, up to its capacity

	t       *testing.T
	mu      sync.Mutex
	entries []Fields
	running bool
	done    chan struct{} // closed when Run has ended
}

// Fields are an entry.
type Fields map[string]string

// Start opens a socket that nobody reads until Run.
func Start(t *testing.T) *Journal {
	t.Helper()
	j := &Journal{t: t, Path: filepath.Join(t.TempDir(), "socket"), Arrived: make(chan struct{}, 1<<20)}
	j.Listen()
	t.Cleanup(j.Stop)
	return j
}

// Listen opens the socket, in the place of one that is there.
func (j *Journal) Listen() {
	j.t.Helper()
	_ = os.Remove(j.Path)
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: j.Path, Net: "unixgram"})
	if err != nil {
		j.t.Fatal(err)
	}
	j.Conn, j.running, j.done = conn, false, make(chan struct{})
}

// Run reads until Stop, and returns j.
func (j *Journal) Run() *Journal {
	j.running = true
	go j.read(j.Conn, j.done)
	return j
}

func (j *Journal) read(conn *net.UnixConn, done chan struct{}) {
	defer close(done)
	buf := make([]byte, 1<<20)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return
		}
		e, err := Parse(buf[:n])
		if err != nil {
			j.t.Errorf("datagram %q: %v", buf[:n], err)
		}
		j.mu.Lock()
		j.entries = append(j.entries, e)
		j.mu.Unlock()
		j.Arrived <- struct{}{}
	}
}

// Stop closes the socket, and ends Run; entries that wait in the socket are lost.
func (j *Journal) Stop() {
	_ = j.Conn.Close()
	if j.running {
		<-j.done
	}
}

// Drain returns when everything that is in the socket was read.
func (j *Journal) Drain() {
	_ = j.Conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	<-j.done
}

// Wait returns the next n entries.
func (j *Journal) Wait(n int) []Fields {
	j.t.Helper()
	for i := range n {
		select {
		case <-j.Arrived:
		case <-time.After(20 * time.Second):
			j.t.Fatalf("%d entries arrived, want %d", i, n)
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	taken := j.entries[:n:n]
	j.entries = j.entries[n:]
	return taken
}

// All returns the entries that arrived and were not taken yet.
func (j *Journal) All() []Fields {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.entries
}

// Parse parses an entry as https://systemd.io/JOURNAL_NATIVE_PROTOCOL says, and refuses
// what journald would drop in silence.
func Parse(data []byte) (Fields, error) {
	entry := Fields{}
	for len(data) > 0 {
		line, rest, ok := bytes.Cut(data, []byte("\n"))
		if !ok {
			return entry, fmt.Errorf("no newline after %q", data)
		}
		name, value, simple := bytes.Cut(line, []byte("="))
		if !simple {
			if len(rest) < 8 {
				return entry, fmt.Errorf("%s: no length", name)
			}
			length := binary.LittleEndian.Uint64(rest)
			rest = rest[8:]
			if uint64(len(rest)) <= length || rest[length] != '\n' {
				return entry, fmt.Errorf("%s: no newline after %d bytes", name, length)
			}
			value, rest = rest[:length], rest[length+1:]
		}
		if !validName(string(name)) {
			return entry, fmt.Errorf("%q is no name", name)
		}
		if _, twice := entry[string(name)]; twice {
			return entry, fmt.Errorf("%s is there twice", name)
		}
		entry[string(name)] = string(value)
		data = rest
	}
	return entry, nil
}

// validName follows journal_field_valid in systemd's journal-file.c.
func validName(name string) bool {
	if name == "" || len(name) > 64 || name[0] == '_' || '0' <= name[0] && name[0] <= '9' {
		return false
	}
	for _, c := range []byte(name) {
		if (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return true
}

// Number returns a field as a number, 0 if it is not there.
func (f Fields) Number(t *testing.T, name string) uint64 {
	t.Helper()
	if f[name] == "" {
		return 0
	}
	n, err := strconv.ParseUint(f[name], 10, 64)
	if err != nil {
		t.Errorf("%s: %v", name, err)
	}
	return n
}
