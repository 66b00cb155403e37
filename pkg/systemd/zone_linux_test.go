package systemd

import "testing"

func TestNumbered(t *testing.T) {
	number, err := InterfaceNumber("lo")
	if err != nil || number != 1 {
		t.Fatalf("lo is %d, %v", number, err)
	}
	for address, want := range map[string]string{
		":80": ":80", "[::1]:80": "[::1]:80", "greet.example:80": "greet.example:80",
		"[fe80::1%7]:80": "[fe80::1%7]:80", "[fe80::1%lo]:80": "[fe80::1%1]:80",
	} {
		if got, err := numbered(address); err != nil || got != want {
			t.Errorf("%s becomes %s, %v; want %s", address, got, err, want)
		}
	}
	for _, missing := range []string{"nope", "with-a-name-that-no-interface-has"} {
		if got, err := numbered("[fe80::1%" + missing + "]:80"); err == nil {
			t.Errorf("an interface that is missing is %s", got)
		}
	}
}
