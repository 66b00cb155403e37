package unit

import (
	"strings"
	"testing"
	"time"
)

func TestSame(t *testing.T) {
	for _, test := range []struct {
		configured, given string
		want              bool
	}{
		{":10000", "[::]:10000", true},
		{":10000", "0.0.0.0:10000", true},
		{"[::]:10000", "[::]:10000", true},
		{"0.0.0.0:10000", "[::]:10000", false},
		{"127.0.0.1:10000", "[::]:10000", false},
		{":10001", "[::]:10000", false},
		{":http", "[::]:80", true},
		{"greet.example:80", "192.0.2.1:80", true},
		{"unix:/run/a", "unix:/run/a", true},
		{"unix:/run/a", "unix:/run/b", false},
		{"unix:/run/a", "[::]:80", false},
		{":80", "unix:/run/a", false},
		{"nonsense", "[::]:80", false},
	} {
		if got := Same(test.configured, test.given); got != test.want {
			t.Errorf("Same(%q, %q) = %v", test.configured, test.given, got)
		}
	}
}

func TestNotServed(t *testing.T) {
	s := Service{Name: "greetd.service", Sockets: []Socket{{"greetd.socket", "greet", []string{"[::]:10000", "127.0.0.1:80"}}}}
	for _, served := range [][2]string{{"greet", ":10000"}, {"greet", "127.0.0.1:80"}, {"other", ":1"}} {
		if got := s.NotServed(served[0], served[1]); got != "" {
			t.Errorf("%v: %s", served, got)
		}
	}
	got := s.NotServed("greet", ":81")
	for _, want := range []string{":81 is not served: greetd.socket gives the address, [::]:10000 and 127.0.0.1:80", "/etc/systemd/system/greetd.socket.d/override.conf", "ListenStream=81;"} {
		if !strings.Contains(got, want) {
			t.Errorf("%s\nlacks %s", got, want)
		}
	}
}

func TestNotKept(t *testing.T) {
	for _, kept := range [][2]int{{0, 0}, {1, 1}, {32, 31}} {
		if got := NotKept("greetd.service", kept[0], kept[1]); got != "" {
			t.Errorf("%v: %s", kept, got)
		}
	}
	const want = "greetd@a.service started with FileDescriptorStoreMax=2, fewer than its own listeners (3): at a restart, clients of 1 are refused; " +
		"systemctl edit greetd@a.service: [Service] FileDescriptorStoreMax=512; then systemctl restart greetd@a.service"
	if got := NotKept("greetd@a.service", 2, 3); got != want {
		t.Error(got)
	}
	if got := NotKept("greetd.service", 512, 513); !strings.Contains(got, "FileDescriptorStoreMax=1026;") {
		t.Error(got)
	}
}

func TestStopTooLong(t *testing.T) {
	s := Service{Name: "greetd.service", TimeoutStop: 20 * time.Second}
	if got := s.StopTooLong(19 * time.Second); got != "" {
		t.Error(got)
	}
	if got := s.StopTooLong(40 * time.Second); !strings.Contains(got, "TimeoutStopSec=20s of greetd.service") || !strings.HasSuffix(got, "TimeoutStopSec=50") {
		t.Error(got)
	}
	if got := (Service{}).StopTooLong(time.Hour); got != "" {
		t.Error(got)
	}
}
