package unit_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"greetd.example/internal/unit"
)

// TestRead reads a unit's files as systemd does: the first unit file, then drop-ins by name.
func TestRead(t *testing.T) {
	root := t.TempDir()
	for file, text := range map[string]string{
		"usr/lib/systemd/system/greetd@.service":                  "[Unit]\nTimeoutStopSec=1s\n[Service]\nTimeoutStopSec=20s\nLoadCredential=a:/etc/%i/a\n",
		"usr/lib/systemd/system/greetd@.service.d/50-a.conf":      "[Service]\nTimeoutStopSec=1min 30s\n",
		"etc/systemd/system/greetd@.service.d/50-a.conf":          "[Service]\n# hides the one before\nTimeoutStopSec=2min 5\n",
		"etc/systemd/system/service.d/10-all.conf":                "[Service]\nTimeoutSec=3s\nLoadCredential=b:/b\n",
		"etc/systemd/system/greetd@lobby.service.d/60-lobby.conf": "[Service]\nLoadCredential=\nLoadCredential=c:\\\n/%i/c\n",
		"etc/systemd/system/other.service":                        "[Service]\nTimeoutStopSec=infinity\n",
		"etc/systemd/system/masked.service":                       "",
		"etc/systemd/system/strange.service":                      "[Service]\nTimeoutStopSec=soon\n",
		"usr/lib/systemd/system/masked.service":                   "[Service]\nTimeoutStopSec=5s\n",
	} {
		path := filepath.Join(root, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for service, want := range map[string]struct {
		timeout     time.Duration
		credentials []string
	}{
		"greetd@lobby.service": {125 * time.Second, []string{"c: /lobby/c"}},
		"greetd@hall.service":  {125 * time.Second, []string{"a:/etc/hall/a", "b:/b"}},
		"other.service":        {3 * time.Second, []string{"b:/b"}}, // of service.d
		"masked.service":       {3 * time.Second, []string{"b:/b"}},
		"strange.service":      {3 * time.Second, []string{"b:/b"}},
	} {
		files := unit.Read(root, service)
		if got := files.TimeoutStop(); got != want.timeout {
			t.Errorf("%s: TimeoutStop = %v, want %v", service, got, want.timeout)
		}
		if got := files.All("LoadCredential"); !slices.Equal(got, want.credentials) {
			t.Errorf("%s: LoadCredential = %q, want %q", service, got, want.credentials)
		}
	}
}

func TestTimeoutStop(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"20":          20 * time.Second,
		"20s":         20 * time.Second,
		"1min 20s":    80 * time.Second,
		"1min20s":     80 * time.Second,
		"1.5h":        90 * time.Minute,
		"500 ms":      500 * time.Millisecond,
		"infinity":    0,
		"1 fortnight": 0,
		"-5s":         0,
		"":            0,
	} {
		if got := read(t, "TimeoutStopSec="+text).TimeoutStop(); got != want {
			t.Errorf("TimeoutStopSec=%s is %v, want %v", text, got, want)
		}
	}
}

// TestFiltersAddresses is about who is kept out by the settings of a unit, and how a change of them is applied.
func TestFiltersAddresses(t *testing.T) {
	const deny = "IPAddressDeny=any\n"
	for settings, want := range map[string]bool{
		"":                                       false,
		deny:                                     true,
		"IPAddressDeny=192.0.2.1\n":              true,
		deny + "IPAddressAllow=any\n":            false,
		deny + "IPAddressAllow=0.0.0.0/0 ::/0\n": false,
		deny + "IPAddressAllow=0.0.0.0/0\n":      true,
		deny + "IPAddressAllow=::/0\nIPAddressAllow=0.0.0.0/0":                            false,
		deny + "IPAddressAllow=any\nIPAddressAllow=\nIPAddressAllow=localhost 10.0.0.0/8": true,
		deny + "IPAddressDeny=\n": false,
	} {
		if got := read(t, settings).FiltersAddresses(); got != want {
			t.Errorf("%q: %t, want %t", settings, got, want)
		}
	}
}

func TestBindAgain(t *testing.T) {
	const plain, clean = "systemctl stop a.service; systemctl start a.service", "systemctl stop a.service; systemctl clean --what=fdstore a.service; systemctl start a.service"
	for settings, want := range map[string]string{
		"": plain, "FileDescriptorStorePreserve=restart": plain, "FileDescriptorStorePreserve=no": plain,
		"FileDescriptorStorePreserve=yes": clean, "FileDescriptorStorePreserve=On": clean,
		"FileDescriptorStorePreserve=yes\nFileDescriptorStorePreserve=no": plain,
	} {
		if got := read(t, settings).BindAgain("a.service"); got != want {
			t.Errorf("%q: %s", settings, got)
		}
	}
}

// read reads a service that has these settings.
func read(t *testing.T, settings string) unit.Files {
	t.Helper()
	root := t.TempDir()
	directory := filepath.Join(root, "etc/systemd/system")
	if err := os.MkdirAll(directory, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(directory, "a.service"), []byte("[Service]\n"+settings+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return unit.Read(root, "a.service")
}

func TestSystemd(t *testing.T) {
	for library, want := range map[string]int{
		"usr/lib/x86_64-linux-gnu/systemd/libsystemd-shared-262.so": 262,
		"usr/lib/systemd/libsystemd-shared-257.4-1.fc42.so":         257,
		"usr/lib/systemd/libsystemd-core-257.so":                    0,
	} {
		root := t.TempDir()
		path := filepath.Join(root, library)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if got := unit.Systemd(root); got != want {
			t.Errorf("%s: version %d, want %d", library, got, want)
		}
	}
}

func TestStoreMax(t *testing.T) {
	for text, want := range map[string]int{
		"[Service]\nFileDescriptorStoreMax=32\n":                           32,
		"[Service]\nFileDescriptorStoreMax=32\nFileDescriptorStoreMax=0\n": 0,
		"[Service]\nType=notify\n":                                         0,
		"[Service]\nFileDescriptorStoreMax=many\n":                         0,
	} {
		root := t.TempDir()
		file := filepath.Join(root, "etc/systemd/system/a.service")
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if got, known := unit.Read(root, "a.service").StoreMax(); got != want || !known {
			t.Errorf("%q: StoreMax = %d, %v", text, got, known)
		}
	}
	if got, known := unit.Read(t.TempDir(), "a.service").StoreMax(); got != 0 || known {
		t.Errorf("without files: StoreMax = %d, %v", got, known)
	}
}

func TestParse(t *testing.T) {
	const text = "[Unit]\nA=1\n# [Service]\n[Service]\n B = 2 \n; C=3\nD=4 \\\n  # between\n  5\nE=\nF\n[Install]\nG=6\n[Service]\nH=a=b\\"
	want := unit.Files{{"B", "2"}, {"D", "4    5"}, {"E", ""}, {"H", `a=b\`}}
	if got := unit.Parse(text, "Service"); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}
