package probe_test

import (
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"greetd.example/pkg/probe"
)

func took(us int) *time.Duration {
	d := time.Duration(us) * time.Microsecond
	return &d
}

func TestJSONSchema(t *testing.T) {
	full := probe.Result{
		Time:   time.Date(2026, 11, 23, 4, 5, 6, 7000, time.FixedZone("", 3600)),
		Target: parse(t, "mail.example:25"),
		Status: probe.Mismatch, Phase: probe.PhaseMatch, Err: errors.New("no <b>"),
		Local: "127.0.0.1:40000", Remote: "127.0.0.1:25", Family: 4,
		Attempts: []probe.Attempt{
			{Addr: netip.MustParseAddrPort("[::1]:25"), Start: 120 * time.Microsecond, End: 180 * time.Microsecond, Result: probe.AttemptRefused, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)},
			{Addr: netip.MustParseAddrPort("127.0.0.1:25"), Start: 181 * time.Microsecond, End: 200 * time.Microsecond, Result: probe.AttemptConnected},
		},
		Timing:   probe.Timing{Resolve: took(1), Connect: took(2), Proxy: took(3), TLS: took(4), FirstByte: took(5), Greeting: took(6), Total: 7 * time.Microsecond},
		TCP:      &probe.TCP{RTT: 8 * time.Microsecond, SynRetrans: 1},
		Greeting: &probe.Greeting{Bytes: []byte("a\x1b\u009b\u202e\x7f\xff\n<"), End: probe.EndMax, Truncated: true},
		Expect:   &probe.Expect{Pattern: "220"},
		TLS: &probe.TLS{
			Version: "TLS 1.3", Cipher: "X", ServerName: "mail.example", Problem: "it is self-signed",
			Subject: "CN=a", Issuer: "CN=b", Names: []string{"a"},
			NotBefore: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC),
		},
	}
	empty := probe.Result{Time: full.Time, Target: parse(t, "unix:/x"), Status: probe.Refused, Phase: probe.PhaseConnect, Err: syscall.ECONNREFUSED}
	silent := probe.Result{Time: full.Time, Target: parse(t, "[::1]:25"), Status: probe.NoGreeting, Phase: probe.PhaseGreeting, Err: errors.New("x"), Greeting: &probe.Greeting{End: probe.EndTimeout}}
	for _, test := range []struct {
		name   string
		result probe.Result
		want   string
	}{
		{"full", full, `{"schema":"greetprobe/1","time":"2026-11-23T03:05:06.000007Z","target":"mail.example:25","host":"mail.example","port":25,"status":"mismatch","phase":"match","exit":4,"error":"no <b>","local":"127.0.0.1:40000","remote":"127.0.0.1:25","family":4,"attempts":[{"addr":"[::1]:25","start_us":120,"end_us":180,"result":"refused","errno":"ECONNREFUSED"},{"addr":"127.0.0.1:25","start_us":181,"end_us":200,"result":"connected","errno":null}],"timing_us":{"resolve":1,"connect":2,"proxy":3,"tls":4,"first_byte":5,"greeting":6,"total":7},"tcp":{"rtt_us":8,"syn_retrans":1},"greeting":{"text":"a\u001b\u009b\u202e\u007f` + "\ufffd" + `\n<","base64":"YRvCm+KArn//Cjw=","bytes":11,"lines":2,"utf8":false,"truncated":true,"end":"max"},"expect":{"matched":false,"pattern":"220"},"tls":{"version":"TLS 1.3","cipher":"X","server_name":"mail.example","verified":false,"problem":"it is self-signed","subject":"CN=a","issuer":"CN=b","names":["a"],"not_before":"2026-01-01T00:00:00Z","not_after":"2027-01-01T00:00:00Z","chain_not_after":null,"chain_subject":"","old":[]}}`},
		{"empty", empty, `{"schema":"greetprobe/1","time":"2026-11-23T03:05:06.000007Z","target":"unix:/x","host":"","port":0,"status":"refused","phase":"connect","exit":3,"error":"connection refused","local":"","remote":"","family":0,"attempts":[],"timing_us":{"resolve":null,"connect":null,"proxy":null,"tls":null,"first_byte":null,"greeting":null,"total":0},"tcp":null,"greeting":null,"expect":null,"tls":null}`},
		{"silent", silent, `{"schema":"greetprobe/1","time":"2026-11-23T03:05:06.000007Z","target":"[::1]:25","host":"::1","port":25,"status":"no_greeting","phase":"greeting","exit":2,"error":"x","local":"","remote":"","family":0,"attempts":[],"timing_us":{"resolve":null,"connect":null,"proxy":null,"tls":null,"first_byte":null,"greeting":null,"total":0},"tcp":null,"greeting":{"text":"","base64":"","bytes":0,"lines":0,"utf8":true,"truncated":false,"end":"timeout"},"expect":null,"tls":null}`},
	} {
		got, err := test.result.MarshalJSON()
		if err != nil || string(got) != test.want {
			t.Errorf("%s:\n%s, %v, want\n%s", test.name, got, err, test.want)
		}
	}
}

func FuzzJSON(f *testing.F) {
	for _, s := range []string{"", "220 hi\r\n", "\x1b\x00\xff", "\u202e\u009b\u2028", `\u0041"`, "\U000e0001"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, said []byte) {
		r := probe.Result{Greeting: &probe.Greeting{Bytes: said}, Err: errors.New(string(said))}
		line, err := r.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		if probe.Escape(line) != string(line) || strings.ContainsAny(string(line), "\n\t") {
			t.Errorf("not safe for a terminal: %q", line)
		}
		var back struct {
			Greeting struct {
				Text   string
				Base64 []byte
				UTF8   bool
			}
		}
		if err := json.Unmarshal(line, &back); err != nil {
			t.Fatal(err)
		}
		if string(back.Greeting.Base64) != string(said) {
			t.Errorf("base64 holds %q, want %q", back.Greeting.Base64, said)
		}
		if back.Greeting.UTF8 != utf8.Valid(said) || back.Greeting.UTF8 && back.Greeting.Text != string(said) {
			t.Errorf("text = %q, utf8 = %v, want %q", back.Greeting.Text, back.Greeting.UTF8, said)
		}
	})
}

func TestExitCodes(t *testing.T) {
	want := map[probe.Status]int{
		"ok": 0, "resolve_failed": 2, "no_greeting": 2, "partial": 2, "refused": 3, "unreachable": 3, "connect_timeout": 3,
		"tls_failed": 4, "closed": 4, "reset": 4, "mismatch": 4, "rejected": 4, "local_error": 5, "canceled": 130, "invalid_target": 1,
	}
	for _, status := range probe.Statuses() {
		if got := (probe.Result{Status: status}).Exit(); got != want[status] {
			t.Errorf("%s exits with %d, want %d", status, got, want[status])
		}
		delete(want, status)
	}
	if len(want) > 0 {
		t.Errorf("Statuses lacks %v", want)
	}
}
