package greeting

import "testing"

// Who says that it does not use the local address gets none, where that takes a system call.
func TestUsesLocal(t *testing.T) {
	for text, want := range map[string]bool{
		"hello": false, "{{.IP}} {{.Port}} {{.Time}}": false,
		"{{.LocalIP}}": true, "{{.LocalPort}}": true, "{{if $.LocalIP}}x{{end}}": true, "{{printf \"%d\" .LocalPort}}": true,
	} {
		g, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if g.UsesLocal() != want {
			t.Errorf("%q: %v, want %v", text, g.UsesLocal(), want)
		}
	}
}
