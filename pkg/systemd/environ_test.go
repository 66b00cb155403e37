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

func TestHiddenBy(t *testing.T) {
	const mounts = `1 0 0:1 / / rw - ext4 /dev/a rw
2 1 0:1 /tmp/systemd-private-0123-greetd.service-ab/tmp /tmp rw - ext4 /dev/a rw
3 1 0:2 /systemd/inaccessible/dir /home ro - tmpfs tmpfs rw
4 1 0:2 /inaccessible/dir /var/lib ro - tmpfs tmpfs rw
5 1 0:3 / /srv rw - ext4 /dev/b rw
6 5 0:2 /systemd/inaccessible/dir /srv ro - tmpfs tmpfs rw
`
	for path, want := range map[string]string{
		"/etc/greetd/key.pem": "",
		"/tmp/key.pem":        "PrivateTmp=",
		"/tmpfile":            "",
		"/home/me/../key.pem": "ProtectHome=",
		"/home":               "ProtectHome=",
		"/var/lib/x":          "InaccessiblePaths=",
		"/srv/x":              "InaccessiblePaths=",
	} {
		if got := hiddenBy(mounts, path); got != want {
			t.Errorf("%s is hidden by %q, want %q", path, got, want)
		}
	}
}
