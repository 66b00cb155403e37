package systemd

import "testing"

func TestRuntimeDirectory(t *testing.T) {
	for list, want := range map[string]string{"": "", "/run/greetd": "/run/greetd", "/run/a:/run/b": "/run/a"} {
		t.Setenv("RUNTIME_DIRECTORY", list)
		if got := RuntimeDirectory(); got != want {
			t.Errorf("RUNTIME_DIRECTORY=%q: %q", list, got)
		}
	}
}
