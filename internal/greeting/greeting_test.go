package greeting_test

import (
	"bytes"
	"net/netip"
	"os"
	"strings"
	"testing"
	"text/template"
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

// proxied is visitor behind a proxy that says all that there is.
var proxied = func() service.Peer {
	p := visitor
	p.Proxy = netip.MustParseAddrPort("198.51.100.9:5")
	p.ProxyInfo = &service.ProxyInfo{
		Authority: "greet.example", ALPN: "h2", UniqueID: "id", SSLVersion: "TLSv1.3", SSLCommonName: "me",
		SSLVerified: true, AWSEndpointID: "vpce-1", AzureEndpointID: "2",
	}
	return p
}()

// every has each field that a proxy fills.
const every = "{{.ProxyIP}}|{{.ProxyAuthority}}|{{.ProxyALPN}}|{{.ProxyUniqueID}}|{{.ProxySSLVersion}}|{{.ProxySSLCommonName}}|" +
	"{{.ProxySSLVerified}}|{{.ProxyAWSEndpointID}}|{{.ProxyAzureEndpointID}}"

func TestProxyFields(t *testing.T) {
	for _, text := range []string{every, "{{if true}}" + every + "{{end}}"} {
		g, err := greeting.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		for want, peer := range map[string]service.Peer{
			"198.51.100.9|greet.example|h2|id|TLSv1.3|me|true|vpce-1|2": proxied,
			"||||||false||": visitor,
		} {
			if got, err := g.AppendGreeting(nil, peer); err != nil || string(got) != want {
				t.Errorf("%q says %q, %v; want %q", text, got, err, want)
			}
		}
	}
	g, err := greeting.Parse(every)
	if err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 0, 256)
	if n := testing.AllocsPerRun(100, func() { buffer, _ = g.AppendGreeting(buffer[:0], proxied) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestGreetings(t *testing.T) {
	hostname, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
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
		"50%!\n{{if .Port}}x{{end}}":                              "50%!\nx",
	} {
		g, err := greeting.Parse(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		got, err := g.AppendGreeting([]byte("> "), visitor)
		if err != nil || string(got) != "> "+want {
			t.Errorf("%q says %q, %v; want %q", text, got, err, want)
		}
	}
}

func TestUnixClientHasNoAddress(t *testing.T) {
	for _, text := range []string{"{{.IP}} {{.Port}} {{.LocalIP}}", "{{if true}}{{.IP}} {{.Port}} {{.LocalIP}}{{end}}"} {
		g, err := greeting.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := g.AppendGreeting(nil, service.Peer{}); err != nil || string(got) != "unix 0 unix" {
			t.Errorf("%q says %q, %v", text, got, err)
		}
	}
}

func TestTemplatesThatGoWrongAreRefused(t *testing.T) {
	for text, complaint := range map[string]string{
		"{{.Name}}":                    "no field .Name",
		"{{if false}}{{.Name}}{{end}}": "no field .Name",
		"{{printf .Nope}}":             "no field .Nope",
		"{{if .Gone}}{{end}}":          "no field .Gone",
		"{{.IP.Foo}}":                  "Foo",
		"{{.ProxyName}}":               "no field .ProxyName",
		"{{.ProxyIP.Foo}}":             "Foo",
		"{{index .ProxyAuthority 0}}":  "index out of range", // of a client that comes directly
		"a\nb{{.IP":                    "line 2",
		"{{nonsense}}":                 "nonsense",
		"{{range 9999999999}}{{end}}":  "{{range}}",
		"{{with .IP}}{{.}}{{end}}":     "{{with}}",
		`{{define "x"}}{{template "x"}}{{end}}{{template "x"}}`: "{{define}}",
		`{{template "greeting"}}`:                               "{{template}}",
		"{{call .IP}}":                                          "call",
		strings.Repeat("x", 65537):                              "at most 65536",
		`{{printf "%65537d" .Port}}`:                            "at most 65536",
		"{{index .IP 100}}":                                     "line 1 of the template: {{index .IP 100}}: error calling index: index out of range: 100",
		"{{nonsense .IP}}":                                      "the functions are and or not eq",
		"{{.Time.Years}}":                                       "what a .Time has is Add AddDate Day",
		"{{if false}}{{.Time.UTC.Years}}{{end}}":                "there is no .Years",
		"{{$t := .Time}}{{$t.Years}}":                           "there is no .Years",
		"{{(.Time).Years}}":                                     "there is no .Years",
		"{{.IP.Year}}":                                          "can't evaluate field Year in type string",
		"{{.}}":                                                 "a dot alone",
		"{{$}}":                                                 "a dot alone",
		"{{$ = .IP}}":                                           "$ is the client",
		"{{and 0 ($x := 1)}}{{$x}}":                             "undefined variable: $x",
		"{{and 0 ($x := 1)}}{{$x = 2}}":                         "undefined variable: $x",
		"{{$.Name}}":                                            "no field .Name",
		"{{nil}}":                                               "nil",
		"{{print 1i}}":                                          "complex number",
		"{{if false}}{{18446744073709551615}}{{end}}":           "too large",
		"{{printf .Port}}":                                      "{{.Port}}: wrong type for value; expected string",
		"{{.Port | printf}}":                                    "wrong type for value; expected string",
		"{{.IP 1}}":                                             "cannot be invoked as function",
		"{{len}}":                                               "wrong number of args for len",
		"{{eq .IP 1}}":                                          "incompatible types",
		"{{lt .Time .Time}}":                                    "invalid type for comparison",
		"{{len 5}}":                                             "len of type int",
		`{{printf "%d" .IP}}`:                                   `"%!d(string=2001:db8`,
		`{{if false}}{{printf "%d" .IP}}{{end}}`:                `"%!d(string=2001:db8`,
		`{{if eq .IP "a"}}x{{else if eq .IP "b"}}{{.IP | printf "%d"}}{{end}}`: `"%!d(string=2001:db8`,
		`{{if false}}{{if true}}x{{else}}{{printf "%s" .Port}}{{end}}{{end}}`:  `"%!s(int=65535)`,
		`{{if and (eq .Port 1) (eq (printf "%d" .IP) "x")}}y{{end}}`:           `"%!d(string=2001:db8`,
		`{{printf "%d"}}`: "%v fits every value",
		`{{$x := "0123456789"}}` + strings.Repeat("{{$x = print $x $x}}", 40): "at most 65536",
	} {
		_, err := greeting.Parse(text)
		if err == nil || !strings.Contains(err.Error(), complaint) {
			t.Errorf("%.50q: %v; want a word of %q", text, err, complaint)
		}
		if err != nil && strings.Contains(err.Error(), "greeting.") {
			t.Errorf("%q: the error speaks of Go's types: %v", text, err)
		}
	}
}

// A verb that fits in its branch is no error, though another branch would not go with it.
func TestPrintfInBranchesThatFit(t *testing.T) {
	for text, want := range map[string]string{
		`{{if eq .Port 1}}{{printf "%d" .Port}}{{else}}{{printf "%s" .IP}}{{end}}`:                        "192.0.2.7",
		`{{$x := .IP}}{{if eq .Port 1}}{{$x = .Port}}{{printf "%d" $x}}{{else}}{{printf "%s" $x}}{{end}}`: "192.0.2.7",
		`{{if $p := .ProxyIP}}{{printf "%s" $p}}{{else}}{{printf "%d" .Port}}{{end}}`:                     "4711",
		`{{if gt (len .Listener) 90}}{{slice .Listener 80 90}}{{else}}{{printf "%d%%" .Port}}{{end}}`:     "4711%",
		`{{if and (eq .Port 4711) .IP}}{{printf "%v" .Time.Year}}{{end}}`:                                 "1",
	} {
		g, err := greeting.Parse(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got, err := g.AppendGreeting(nil, service.Peer{Remote: netip.MustParseAddrPort("192.0.2.7:4711")}); string(got) != want || err != nil {
			t.Errorf("%s: %q, %v; want %q", text, got, err, want)
		}
	}
}

// Which client gets how much can depend on who it is; the sample visitor is somebody else.
func TestNobodyIsToldMoreThanMaxLength(t *testing.T) {
	for text, fits := range map[string]bool{
		`{{if eq .Port 4711}}{{printf "%65536d" 1}}{{end}}`:                          true,
		`{{if eq .Port 4711}}{{printf "%65537d" 1}}{{end}}`:                          false,
		`{{if eq .Port 4711}}{{printf "%65536d" 1}}{{end}}x`:                         false,
		`{{if eq .Port 4711}}{{.IP}}{{printf "%999999d" 1}}{{end}}`:                  false,
		`{{if eq .Port 4711}}{{printf "%65536d" 1}}{{end}}{{if eq .Port 1}}x{{end}}`: true,
	} {
		g, err := greeting.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		said, err := g.AppendGreeting([]byte("before"), service.Peer{Remote: netip.MustParseAddrPort("192.0.2.7:4711")})
		if fits && (err != nil || len(said) != len("before")+greeting.MaxLength) {
			t.Errorf("%s: %d bytes, %v", text, len(said), err)
		}
		if !fits && (err == nil || !strings.Contains(err.Error(), "at most 65536")) {
			t.Errorf("%s: %d bytes, %v; want an error", text, len(said), err)
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

// oracle is a visitor as text/template can see it.
type oracle struct {
	IP       string
	Port     int
	Listener string

	LocalIP   string
	LocalPort int
	Hostname  string
	Time      greeting.Time
	Visit     uint64

	ProxyALPN, ProxyAWSEndpointID, ProxyAuthority, ProxyAzureEndpointID, ProxyIP, ProxySSLCommonName, ProxySSLVersion, ProxyUniqueID string
	ProxySSLVerified                                                                                                                 bool
}

func seenAs(p service.Peer) oracle {
	hostname, _ := os.Hostname()
	ip := func(a netip.AddrPort) string {
		if !a.IsValid() {
			return "unix"
		}
		return a.Addr().String()
	}
	var proxy service.ProxyInfo
	if p.ProxyInfo != nil {
		proxy = *p.ProxyInfo
	}
	var proxyIP string
	if p.Proxy.IsValid() {
		proxyIP = p.Proxy.Addr().String()
	}
	return oracle{
		ProxyALPN: proxy.ALPN, ProxyAWSEndpointID: proxy.AWSEndpointID, ProxyAuthority: proxy.Authority, ProxyAzureEndpointID: proxy.AzureEndpointID,
		ProxyIP: proxyIP, ProxySSLCommonName: proxy.SSLCommonName, ProxySSLVersion: proxy.SSLVersion, ProxyUniqueID: proxy.UniqueID, ProxySSLVerified: proxy.SSLVerified,
		IP: ip(p.Remote), Port: int(p.Remote.Port()), Listener: p.Listener,
		LocalIP: ip(p.Local), LocalPort: int(p.Local.Port()), Hostname: hostname,
		Time: greeting.Time{Time: p.Arrived}, Visit: p.ID,
	}
}

// compare holds what a greeting says against what text/template says, which has the last
// word on every template that is accepted at all.
func compare(t *testing.T, text string) (accepted bool) {
	t.Helper()
	g, err := greeting.Parse(text)
	if err != nil {
		return false
	}
	theirs, err := template.New("greeting").Parse(text)
	if err != nil {
		t.Fatalf("%q: text/template refuses it: %v", text, err)
	}
	for _, peer := range []service.Peer{visitor, proxied, {Listener: "inside"}, {ID: 1<<64 - 1, Remote: visitor.Local, Local: visitor.Remote, Arrived: time.Unix(1, 2)}} {
		got, err := g.AppendGreeting(nil, peer)
		if err != nil && strings.Contains(err.Error(), "at most 65536") {
			continue
		}
		var want bytes.Buffer
		wantErr := theirs.Execute(&want, seenAs(peer))
		if (err == nil) != (wantErr == nil) || err == nil && string(got) != want.String() {
			t.Errorf("%q says %q, %v; text/template says %q, %v", text, got, err, want.String(), wantErr)
		}
	}
	return true
}

// understood is one of everything that a template may have.
var understood = []string{
	"Hello there, {{.IP}}!\n", "{{if .Port}}x{{else}}{{.Time}}{{end}}", `{{printf "%99d" .Visit}}`,
	"{{.IP}} {{.Port}} {{.Listener}} {{.LocalIP}} {{.LocalPort}} {{.Hostname}} {{.Time}} {{.Visit}}",
	every, `{{if .ProxySSLVerified}}{{.ProxySSLCommonName}}{{end}}{{or .ProxyAuthority .ProxyIP "direct"}}{{if .ProxyAuthority}}{{index .ProxyAuthority 0}}{{end}}`,
	"{{$.IP}}{{$.Time.Year}}", `a {{- "b" -}} c{{/* d */}}{{- /* e */ -}} f`, "{{true}}{{false}}{{1}}{{1.5}}{{0x1F}}{{1e3}}{{'x'}}{{`raw`}}",
	`{{if eq .Port 0}}local{{else if lt .Port 1024}}low{{else}}high{{end}}`,
	`{{if and .Port (ne .IP "192.0.2.7") | not}}a{{else}}b{{end}}`, `{{or "" .IP}}{{and "" .IP}}{{and 1 .Time}}{{.IP | or ""}}{{.IP | and 0}}{{or 0 0.0 false}}`,
	`{{eq .IP "a" "b" .IP}}{{eq .Time .Time}}{{eq .Time .Time.UTC}}{{eq .Visit .Port}}{{eq .Time.Weekday 1}}{{ne 1.5 1.5}}{{eq true false}}`,
	`{{lt .Visit .Port}}{{le .Port .Visit}}{{gt "b" "a"}}{{ge 1.5 2.5}}{{lt -1 .Visit}}{{le .Visit -1}}{{gt .Time.Month 2}}{{le "a" "a"}}`,
	`{{len .IP}}{{len ""}}{{.IP | len}}`, `{{index .IP 0}}{{index "abc" 2 | printf "%c"}}{{index .Time}}`, `{{slice .IP 1 3}}{{slice .IP 2}}{{slice .IP}}{{slice .Listener 0 .Time.Month}}`,
	`{{print .IP 1 2 "x" .Time 3.5}}{{print}}{{println .IP .Port}}{{printf "%d %s %v %q %x %t %5.2f" .Port .IP .Time .Listener .Visit true 1.5}}{{print print}}`,
	`{{html "<a href='x'>&\"\x00" .IP}}{{js "it's <b>=\u2028" .Port}}{{urlquery "a b&c" .IP}}{{"<" | html | js}}`,
	`{{.Time.Format "2006-01-02T15:04:05Z07:00"}}{{"15:04" | .Time.Format}}{{(print "Jan" | print) | .Time.UTC.Format}}`,
	`{{.Time.Unix}} {{.Time.UnixMilli}} {{.Time.UnixMicro}} {{.Time.UnixNano}} {{.Time.UTC}} {{.Time.Local}} {{.Time.String}} {{.Time.UTC.String}} {{.Time.IsDST}}`,
	`{{.Time.Year}}-{{.Time.Month}}-{{.Time.Day}} {{.Time.Hour}}:{{.Time.Minute}}:{{.Time.Second}}.{{.Time.Nanosecond}} {{.Time.Weekday}} {{.Time.YearDay}} {{.Time.Month.String}} {{.Time.Weekday.String}}`,
	`{{.Time.AddDate 0 1 -1}}{{.Time.Add 3600000000000}}{{(.Time.Truncate 3600000000000).Unix}}{{.Time.Round 1e9}}{{printf "%d" .Time.Month}}{{.Time.AddDate 0 0 .Port}}`,
	`{{$x := .IP}}{{if $x = .Listener}}{{$y := len $x}}{{$x}}{{$y}}{{$x = print $x $y}}{{end}}{{$x}}{{$t := .Time.UTC}}{{$t.Year}}{{$x := 1}}{{$x}}`,
	`{{if $p := .Port}}{{$p}}{{else}}{{$p}}{{end}}{{($q := .IP) | len}}{{(.Time).Hour}}{{((.Time.UTC).Local).Minute}}`,
	`{{index .IP 8}}`, `{{slice .IP 5}}`, `{{if eq .Port 0}}{{len .Port}}{{end}}`, "$\xff{{/**/}}", `{{if false}}{{.IP.Year}}{{len 5}}{{eq}}{{lt .Time 1}}{{printf 5}}{{.Time.Add .Port}}{{end}}`, `{{if .Port}}{{index .IP 0}}{{else}}{{index .IP 5}}{{end}}`,
	`{{or .IP ($x := 1)}}{{if eq .IP "unix"}}{{$x}}{{end}}`,
}

func TestTemplatesSayWhatTextTemplateSays(t *testing.T) {
	for _, text := range understood {
		if !compare(t, text) {
			_, err := greeting.Parse(text)
			t.Errorf("%q is refused: %v", text, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range understood {
		f.Add(seed)
		for action := range strings.SplitAfterSeq(seed, "}}") {
			f.Add(action)
		}
	}
	for _, seed := range []string{"{{range 9}}", "{{", `{{define "greeting"}}x{{end}}`, `{{.}}`, `{{nil}}`, `{{1i}}`, `{{eq .IP nil}}`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) { compare(t, text) })
}

func BenchmarkAppend(b *testing.B) {
	for name, template := range map[string]string{
		"text": "welcome\n", "ip": "Hello there, {{.IP}}!\n", "if": "{{if .Port}}Hello there, {{.IP}}!\n{{end}}",
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

func TestGreetingsThatAreTheSameForAllAreFixed(t *testing.T) {
	for text, want := range map[string]bool{
		"welcome\n": true, "": true, "{{/* to all */}}welcome\n": true,
		"welcome, {{.IP}}\n": false, "{{if .Port}}welcome{{end}}\n": false,
	} {
		g, err := greeting.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		fixed, ok := g.Fixed()
		if ok != want {
			t.Errorf("%q: fixed = %v, want %v", text, ok, want)
		}
		if said, err := g.AppendGreeting(nil, service.Peer{}); ok && (err != nil || string(said) != string(fixed)) {
			t.Errorf("%q: fixed is %q, told is %q, %v", text, fixed, said, err)
		}
	}
}
