package logging

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

// A fakeJournal stands for journald: it reads datagrams from a socket and takes them
// apart as the native protocol says.
type fakeJournal struct {
	t    *testing.T
	path string
	conn *net.UnixConn

	mu      sync.Mutex
	entries []fields
	arrived chan struct{} // has one element for each entry, up to its capacity
	done    chan struct{}
}

type fields map[string]string

func startJournal(t *testing.T) *fakeJournal {
	t.Helper()
	j := &fakeJournal{t: t, path: filepath.Join(t.TempDir(), "socket"), arrived: make(chan struct{}, 1<<20)}
	j.listen()
	t.Cleanup(j.stop)
	return j
}

// listen opens the socket, in the place of one that is there.
func (j *fakeJournal) listen() {
	j.t.Helper()
	os.Remove(j.path)
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: j.path, Net: "unixgram"})
	if err != nil {
		j.t.Fatal(err)
	}
	j.conn, j.done = conn, make(chan struct{})
}

// run reads until stop.
func (j *fakeJournal) run() *fakeJournal {
	go j.read(j.conn, j.done)
	return j
}

func (j *fakeJournal) read(conn *net.UnixConn, done chan struct{}) {
	defer close(done)
	buf := make([]byte, 1<<20)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return
		}
		e, err := parseNative(buf[:n])
		if err != nil {
			j.t.Errorf("datagram %q: %v", buf[:n], err)
		}
		j.mu.Lock()
		j.entries = append(j.entries, e)
		j.mu.Unlock()
		j.arrived <- struct{}{}
	}
}

// stop closes the socket; entries that wait in it are lost.
func (j *fakeJournal) stop() { j.conn.Close() }

// drain returns when everything that is in the socket was read.
func (j *fakeJournal) drain() {
	j.conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	<-j.done
}

// wait returns the next n entries.
func (j *fakeJournal) wait(n int) []fields {
	j.t.Helper()
	for i := range n {
		select {
		case <-j.arrived:
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

// all returns the entries that arrived and were not taken yet.
func (j *fakeJournal) all() []fields {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.entries
}

// parseNative takes an entry apart as https://systemd.io/JOURNAL_NATIVE_PROTOCOL
// says, and refuses what journald would drop in silence.
func parseNative(data []byte) (fields, error) {
	entry := fields{}
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

// number returns a field as a number, 0 if it is not there.
func (f fields) number(t *testing.T, name string) uint64 {
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
