package greeting_test

import (
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"greetd.example/internal/greeting"
	"greetd.example/pkg/service"
)

var visitor = service.Peer{
	ID:       42,
	Listener: "front",
	Remote:   netip.MustParseAddrPort("192.0.2.7:4711"),
	Local:    netip.MustParseAddrPort("[2001:db8::1]:25"),
	Arrived:  time.Date(2026, 11, 23, 13, 14, 15, 999, time.FixedZone("", 3600)),
}

func TestGreetings(t *testing.T) {
	hostname, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for template, want := range map[string]string{
		"Hello there, {{.IP}}!\n":            "Hello there, 192.0.2.7!\n",
		"":                                   "",
		"plain\r\n":                          "plain\r\n",
		"{{.Port}} {{.Listener}} {{.Visit}}": "4711 front 42",
		"{{.LocalIP}} {{.LocalPort}}":        "2001:db8::1 25",
		"{{.Time}}":                          "2026-11-23T12:14:15Z",
		"{{.Hostname}}":                      hostname,
		`{{.Time.Format "15:04"}}`:           "13:14",
		`{{if eq .Listener "front"}}in{{else}}out{{end}}`:         "in",
		`{{printf "%05d" .Port}}|{{.IP | printf "%q"}}`:           `04711|"192.0.2.7"`,
		"{{- /* nothing */ -}}  {{.IP}}":                          "192.0.2.7",
		`{{$who := .IP}}{{$who}} and {{$who}}`:                    "192.0.2.7 and 192.0.2.7",
		"{{.IP}}\x00\xff":                                         "192.0.2.7\x00\xff",
		`{{(printf "%s:%d" .IP .Port) | len}} {{len .IP}}{{"!"}}`: "14 9!",
	} {
		g, err := greeting.Parse(template)
		if err != nil {
			t.Errorf("%q: %v", template, err)
			continue
		}
		got, err := g.AppendGreeting([]byte("> "), visitor)
		if err != nil || string(got) != "> "+want {
			t.Errorf("%q says %q, %v; want %q", template, got, err, want)
		}
	}
}

func TestUnixClientHasNoAddress(t *testing.T) {
	for _, template := range []string{"{{.IP}} {{.Port}} {{.LocalIP}}", "{{if true}}{{.IP}} {{.Port}} {{.LocalIP}}{{end}}"} {
		g, err := greeting.Parse(template)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := g.AppendGreeting(nil, service.Peer{}); err != nil || string(got) != "unix 0 unix" {
			t.Errorf("%q says %q, %v", template, got, err)
		}
	}
}

func TestTemplatesThatGoWrongAreRefused(t *testing.T) {
	for template, complaint := range map[string]string{
		"{{.Name}}":                    "no field .Name",
		"{{if false}}{{.Name}}{{end}}": "no field .Name",
		"{{printf .Nope}}":             "no field .Nope",
		"{{if .Gone}}{{end}}":          "no field .Gone",
		"{{.IP.Foo}}":                  "Foo",
		"a\nb{{.IP":                    "line 2",
		"{{nonsense}}":                 "nonsense",
		"{{range 9999999999}}{{end}}":  "{{range}}",
		"{{with .IP}}{{.}}{{end}}":     "{{with}}",
		`{{define "x"}}{{template "x"}}{{end}}{{template "x"}}`: "{{define}}",
		`{{template "greeting"}}`:                               "{{template}}",
		"{{call .IP}}":                                          "call",
		strings.Repeat("x", 65537):                              "at most 65536",
		`{{printf "%65537d" .Port}}`:                            "at most 65536",
		"{{index .IP 100}}":                                     "index",
	} {
		_, err := greeting.Parse(template)
		if err == nil || !strings.Contains(err.Error(), complaint) {
			t.Errorf("%.50q: %v; want a word of %q", template, err, complaint)
		}
		if err != nil && strings.Contains(err.Error(), "visitor") {
			t.Errorf("%q: the error speaks of Go's types: %v", template, err)
		}
	}
}

// Which client gets how much can depend on who it is; the sample visitor is somebody else.
func TestNobodyIsToldMoreThanMaxLength(t *testing.T) {
	for template, fits := range map[string]bool{
		`{{if eq .Port 4711}}{{printf "%65536d" 1}}{{end}}`:                          true,
		`{{if eq .Port 4711}}{{printf "%65537d" 1}}{{end}}`:                          false,
		`{{if eq .Port 4711}}{{printf "%65536d" 1}}{{end}}x`:                         false,
		`{{if eq .Port 4711}}{{.IP}}{{printf "%999999d" 1}}{{end}}`:                  false,
		`{{if eq .Port 4711}}{{printf "%65536d" 1}}{{end}}{{if eq .Port 1}}x{{end}}`: true,
	} {
		g, err := greeting.Parse(template)
		if err != nil {
			t.Fatal(err)
		}
		said, err := g.AppendGreeting([]byte("before"), service.Peer{Remote: netip.MustParseAddrPort("192.0.2.7:4711")})
		if fits && (err != nil || len(said) != len("before")+greeting.MaxLength) {
			t.Errorf("%s: %d bytes, %v", template, len(said), err)
		}
		if !fits && (err == nil || !strings.Contains(err.Error(), "at most 65536")) {
			t.Errorf("%s: %d bytes, %v; want an error", template, len(said), err)
		}
	}
}

func TestTextAndFieldsCostNoAllocation(t *testing.T) {
	g, err := greeting.Parse("Hello there, {{.IP}}!\n")
	if err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 0, 128)
	if n := testing.AllocsPerRun(100, func() { buffer, _ = g.AppendGreeting(buffer[:0], visitor) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"Hello there, {{.IP}}!\n", "{{if .Port}}x{{else}}{{.Time}}{{end}}", `{{printf "%99d" .Visit}}`, "{{range 9}}", "{{"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, template string) {
		g, err := greeting.Parse(template)
		if err != nil {
			return
		}
		if _, err := g.AppendGreeting(nil, visitor); err != nil && !strings.Contains(template, "{{") {
			t.Errorf("plain text fails: %v", err)
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	for name, template := range map[string]string{
		"text": "welcome\n", "ip": "Hello there, {{.IP}}!\n", "template": "{{if .Port}}Hello there, {{.IP}}!\n{{end}}",
	} {
		b.Run(name, func(b *testing.B) {
			g, err := greeting.Parse(template)
			if err != nil {
				b.Fatal(err)
			}
			buffer := make([]byte, 0, 128)
			b.ReportAllocs()
			for b.Loop() {
				buffer, _ = g.AppendGreeting(buffer[:0], visitor)
			}
		})
	}
}
