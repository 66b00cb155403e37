package daemon

import (
	"testing"

	"greetd.example/internal/admin"
	"greetd.example/pkg/service"
	"greetd.example/pkg/systemd"
)

// Listeners that the drain has closed are not said to be removed, which a reload does; and those
// with all IPv6 addresses alone differ from those with IPv4 too.
func TestListenerRows(t *testing.T) {
	s, err := systemd.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for name, address := range map[string]string{"dual": ":0", "six": "[::]:0", "four": "0.0.0.0:0"} {
		l, err := s.Listen(name, address)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Remove()
	}
	stats := []service.ListenerStats{{Name: "dual", Open: true}, {Name: "four"}, {Name: "six", Open: true}, {Name: "before"}}
	rows := make(map[string]admin.Listener)
	for _, row := range listenerRows(s.Listeners(), stats) {
		rows[row.Name] = row
	}
	for name, want := range map[string]admin.ListenerState{"dual": admin.Listening, "four": admin.Closed, "six": admin.Listening, "before": admin.Removed} {
		if got := rows[name]; got.State != want || got.IPv6Only != (name == "six") {
			t.Errorf("%s is %s, IPv6 only: %v; want %s", name, got.State, got.IPv6Only, want)
		}
	}
	if got := rows["six"]; got.Place() != got.Address+" (IPv6 only)" || rows["dual"].Place() != rows["dual"].Address {
		t.Errorf("%s and %s", got.Place(), rows["dual"].Place())
	}
	for _, l := range s.Listeners() {
		want := l.Name() + " " + l.Address() + " (own bind)"
		if l.Name() == "six" {
			want = "six " + l.Address() + " (own bind, IPv6 only)"
		}
		if l.String() != want {
			t.Errorf("%s, want %s", l, want)
		}
	}
}
