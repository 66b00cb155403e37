package config

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A file that is longer than it seemed, because somebody writes to it meanwhile, is not read for as long
// as that goes on, and its beginning is no configuration. Here it is a file of the kernel that says it is
// empty: the memory map of a process that has many.
func TestLoadRefusesAFileThatGrows(t *testing.T) {
	const maps = 30_000
	page := os.Getpagesize()
	memory, err := unix.Mmap(-1, 0, maps*page, unix.PROT_NONE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(memory)
	for i := 0; i < maps; i += 2 { // each page is a map of its own
		if err := unix.Mprotect(memory[i*page:(i+1)*page], unix.PROT_READ); err != nil {
			t.Fatal(err)
		}
	}
	const path = "/proc/self/smaps" // some 600 bytes for each
	if info, err := os.Stat(path); err != nil || info.Size() != 0 {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err = readFile(path)
	runtime.ReadMemStats(&after)
	if want := fmt.Sprintf("is too long: at most %d bytes are read", mostBytes); err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	if got := after.TotalAlloc - before.TotalAlloc; got > 10*mostBytes {
		t.Errorf("it took %d bytes of memory to refuse a file that may have %d", got, mostBytes)
	}
}

// A reload opens the file and its drop-ins again and again.
func TestLoadLeavesNoDescriptor(t *testing.T) {
	path := writeAll(t, "greeting: a", map[string]string{"1.yaml": "greeting: b"})
	open := func() int {
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	before := open()
	for range 20 {
		if _, err := Load(Source{Path: path}); err != nil {
			t.Fatal(err)
		}
	}
	if more := open() - before; more != 0 {
		t.Errorf("%d descriptors more than before", more)
	}
}

// No more listeners than one file may have are in all files together.
func TestDropInsDoNotExceedTheListeners(t *testing.T) {
	some := func(prefix string, n int) string {
		var list strings.Builder
		list.WriteString("listeners:\n")
		for i := range n {
			fmt.Fprintf(&list, "- {name: %s%d, address: ':0'}\n", prefix, i)
		}
		return list.String()
	}
	path := writeAll(t, some("a", mostSections-1), map[string]string{"1.yaml": some("b", 1)})
	if _, err := Load(Source{Path: path}); err != nil {
		t.Errorf("with %d listeners: %v", mostSections, err)
	}
	path = writeAll(t, some("a", mostSections-1), map[string]string{"1.yaml": some("b", 2)})
	want := path + ".d/1.yaml:1: listeners: must have from 1 to 1000 elements, not 1001 with those of the files before"
	if _, err := Load(Source{Path: path}); err == nil || err.Error() != want {
		t.Errorf("with one more: %v, want %s", err, want)
	}
}

// Where there are too many problems, the last line names the file in which reading stopped.
func TestLoadReportsWhereThereIsMore(t *testing.T) {
	path := writeAll(t, strings.Repeat("x: 1\n", mostProblems-1), map[string]string{"1.yaml": strings.Repeat("y: 1\n", 5)})
	_, err := Load(Source{Path: path})
	if want := "\n" + filepath.Join(DropInDirectory(path), "1.yaml") + ": there are more problems: correct these first"; err == nil || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("%v\nwant %q at its end", err, want)
	}
}
