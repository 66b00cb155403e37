package probe_test

import (
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"greetd.example/internal/test/testserver"
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
		Protocol: probe.SMTP, Software: "Postfix", Version: "3.7", Refusal: &probe.Refusal{Code: "421", Text: "421 no", Temporary: true},
		Expect: &probe.Expect{Pattern: "220"},
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
		{"full", full, `{"schema":"greetprobe/1","time":"2026-11-23T03:05:06.000007Z","target":"mail.example:25","host":"mail.example","port":25,"status":"mismatch","phase":"match","error":"no <b>","local":"127.0.0.1:40000","remote":"127.0.0.1:25","family":4,"attempts":[{"addr":"[::1]:25","start_us":120,"end_us":180,"result":"refused","errno":"ECONNREFUSED"},{"addr":"127.0.0.1:25","start_us":181,"end_us":200,"result":"connected","errno":null}],"timing_us":{"resolve":1,"connect":2,"proxy":3,"tls":4,"first_byte":5,"greeting":6,"total":7},"tcp":{"rtt_us":8,"syn_retrans":1},"greeting":{"text":"a\u001b\u009b\u202e\u007f` + "\ufffd" + `\n<","base64":"YRvCm+KArn//Cjw=","bytes":11,"lines":2,"utf8":false,"truncated":true,"end":"max"},"protocol":"smtp","software":"Postfix","software_version":"3.7","refusal":{"code":"421","words":"421 no","temporary":true},"expect":{"matched":false,"pattern":"220"},"tls":{"version":"TLS 1.3","cipher":"X","server_name":"mail.example","verified":false,"problem":"it is self-signed","subject":"CN=a","issuer":"CN=b","names":["a"],"not_before":"2026-01-01T00:00:00Z","not_after":"2027-01-01T00:00:00Z","chain_not_after":null,"chain_subject":"","old":[]},"steps":[]}`},
		{"empty", empty, `{"schema":"greetprobe/1","time":"2026-11-23T03:05:06.000007Z","target":"unix:/x","host":"","port":0,"status":"refused","phase":"connect","error":"connection refused","local":"","remote":"","family":0,"attempts":[],"timing_us":{"resolve":null,"connect":null,"proxy":null,"tls":null,"first_byte":null,"greeting":null,"total":0},"tcp":null,"greeting":null,"protocol":null,"software":null,"software_version":null,"refusal":null,"expect":null,"tls":null,"steps":[]}`},
		{"silent", silent, `{"schema":"greetprobe/1","time":"2026-11-23T03:05:06.000007Z","target":"[::1]:25","host":"::1","port":25,"status":"no_greeting","phase":"greeting","error":"x","local":"","remote":"","family":0,"attempts":[],"timing_us":{"resolve":null,"connect":null,"proxy":null,"tls":null,"first_byte":null,"greeting":null,"total":0},"tcp":null,"greeting":{"text":"","base64":"","bytes":0,"lines":0,"utf8":true,"truncated":false,"end":"timeout"},"protocol":null,"software":null,"software_version":null,"refusal":null,"expect":null,"tls":null,"steps":[]}`},
	} {
		got, err := test.result.MarshalJSON()
		if err != nil || string(got) != test.want {
			t.Errorf("%s:\n%s, %v, want\n%s", test.name, got, err, test.want)
		}
		back := readBack(t, got)
		if again, err := back.MarshalJSON(); err != nil || string(again) != test.want {
			t.Errorf("%s, read back:\n%s, %v, want\n%s", test.name, again, err, test.want)
		}
		sameFacts(t, back, test.result)
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
		var whole probe.Result
		if err := json.Unmarshal(line, &whole); err != nil || string(whole.Greeting.Bytes) != string(said) {
			t.Errorf("read back %v, %+v", err, whole.Greeting)
		}
		if string(back.Greeting.Base64) != string(said) {
			t.Errorf("base64 holds %q, want %q", back.Greeting.Base64, said)
		}
		if back.Greeting.UTF8 != utf8.Valid(said) || back.Greeting.UTF8 && back.Greeting.Text != string(said) {
			t.Errorf("text = %q, utf8 = %v, want %q", back.Greeting.Text, back.Greeting.UTF8, said)
		}
	})
}

func readBack(t *testing.T, text []byte) (r probe.Result) {
	t.Helper()
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// sameFacts compares what a Result has with what came back from its JSON. Errors keep
// their text, and those of an attempt their number.
func sameFacts(t *testing.T, back, r probe.Result) {
	t.Helper()
	if !back.Time.Equal(r.Time) || (back.Err == nil) != (r.Err == nil) || back.Err != nil && back.Err.Error() != r.Err.Error() {
		t.Errorf("%v %v, want %v %v", back.Time, back.Err, r.Time, r.Err)
	}
	for i, a := range r.Attempts {
		errno, ok := errors.AsType[syscall.Errno](a.Err)
		if ok && !errors.Is(back.Attempts[i].Err, errno) {
			t.Errorf("attempt %d: %v, want %v", i, back.Attempts[i].Err, errno)
		}
		back.Attempts[i].Err = a.Err
	}
	if r.Greeting != nil && r.Greeting.Bytes == nil {
		back.Greeting.Bytes = nil // instead of none
	}
	back.Time, back.Err = r.Time, r.Err
	if !reflect.DeepEqual(back, r) { //nolint:govet // errors are set to the same before
		t.Errorf("read back %+v, want %+v", back, r)
	}
}

func TestProbesCanBeReadBack(t *testing.T) {
	good := testserver.Listen(t, testserver.Greet("220 hi\xff\r\n")).Addr
	_, port, _ := strings.Cut(good, ":")
	for _, target := range []string{good, closedPort(t), "mail.example[127.0.0.1]:" + port, "[::1]:" + port, "unix:/nowhere", "no.invalid:25"} {
		r := new(probe.Probe).Do(t.Context(), parse(t, target))
		text, err := r.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		back := readBack(t, text)
		if again, err := back.MarshalJSON(); err != nil || string(again) != string(text) {
			t.Errorf("%s, %v, want %s", again, err, text)
		}
		if back.Target != r.Target || back.Timing.Total != r.Timing.Total.Truncate(time.Microsecond) {
			t.Errorf("%+v after %s, want %+v after %s", back.Target, back.Timing.Total, r.Target, r.Timing.Total)
		}
	}
}

func TestBadJSONIsAnError(t *testing.T) {
	for _, text := range []string{
		`{}`, `[]`, `{"schema":"other/1"}`, `{"schema":"greetprobe/1","time":"now"}`,
		`{"schema":"greetprobe/1","time":"2026-11-23T03:05:06Z","target":"x"}`,
		`{"schema":"greetprobe/1","time":"2026-11-23T03:05:06Z","target":"x:1","attempts":[{"addr":"x"}]}`,
	} {
		r := probe.Result{Status: probe.OK}
		if err := json.Unmarshal([]byte(text), &r); err == nil || r.Status != probe.OK {
			t.Errorf("%s: %v, result %+v", text, err, r)
		}
	}
}
