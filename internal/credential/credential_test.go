package credential

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestReadByPathAndByName(t *testing.T) {
	directory := t.TempDir()
	path := filepath.Join(directory, "greeting")
	write(t, path, "hello\n")

	if got, err := Read(path, 6); err != nil || string(got) != "hello\n" {
		t.Errorf("by path: %q, %v", got, err)
	}
	t.Setenv("CREDENTIALS_DIRECTORY", directory)
	if got, err := Read("greeting", 6); err != nil || string(got) != "hello\n" {
		t.Errorf("by name: %q, %v", got, err)
	}
}

// TestReadSaysWhatToDo: each error continues a sentence that begins with the path.
func TestReadSaysWhatToDo(t *testing.T) {
	directory := t.TempDir()
	path := filepath.Join(directory, "greeting")
	write(t, path, "hello\n")
	fifo := filepath.Join(directory, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		credentials, path string
		want              []string
	}{
		{"", "greeting", []string{"is the name of a credential", "LoadCredential="}},
		{directory, "other", []string{"is not among the credentials in " + directory, "LoadCredential=other:/its/path"}},
		{"", filepath.Join(directory, "other"), []string{"does not exist", "create it"}},
		{"", directory, []string{"is a directory", "name the file in it"}},
		{"", fifo, []string{"is not a regular file"}},
		{"", filepath.Join(path, "below"), []string{"can't be read: not a directory"}},
		{"", path, []string{"has more than 5 bytes"}},
	} {
		t.Setenv("CREDENTIALS_DIRECTORY", tt.credentials)
		_, err := Read(tt.path, 5)
		for _, want := range tt.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("Read(%q) = %v, want %q", tt.path, err, want)
			}
		}
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
