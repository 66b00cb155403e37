package probe_test

import (
	"strings"
	"testing"

	"greetd.example/pkg/probe"
)

func TestParseTarget(t *testing.T) {
	for _, test := range []struct{ in, want string }{
		{"localhost:25", "localhost:25"},
		{"localhost:smtp", "localhost:25"},
		{"localhost:SMTP", "localhost:25"},
		{"localhost:1", "localhost:1"},
		{"localhost:65535", "localhost:65535"},
		{"localhost:00025", "localhost:25"},
		{"mail.example.:25", "mail.example.:25"},
		{"under_score.example:25", "under_score.example:25"},
		{"bücher.example:25", "bücher.example:25"},
		{"127.0.0.1:25", "127.0.0.1:25"},
		{"[::1]:25", "[::1]:25"},
		{"[0:0::1]:25", "[::1]:25"},
		{"[fe80::1%eth0]:25", "[fe80::1%eth0]:25"},
		{"mail.example[192.0.2.1]:25", "mail.example[192.0.2.1]:25"},
		{"mail.example[2001:db8::1]:25", "mail.example[2001:db8::1]:25"},
		{"unix:/run/x", "unix:/run/x"},
		{"unix:@abstract", "unix:@abstract"},
		{"unix:rel:ative", "unix:rel:ative"},
	} {
		target, err := probe.ParseTarget(test.in)
		if err != nil || target.String() != test.want {
			t.Errorf("ParseTarget(%q) = %s, %v; want %s", test.in, target, err, test.want)
		}
	}
}

func TestParseTargetTellsWhatIsWrong(t *testing.T) {
	for _, test := range []struct{ in, want string }{
		{"", `"" has no port: write HOST:PORT`},
		{"localhost", `"localhost" has no port: write HOST:PORT`},
		{"[::1]", `"[::1]" has no port: write HOST:PORT`},
		{"localhost:+25", `"+25" is neither a port number nor a service in /etc/services`},
		{"localhost:", `"" is neither a port number nor a service in /etc/services`},
		{":25", `":25" has no host: write HOST:PORT`},
		{"localhost:0", "port 0 is not between 1 and 65535"},
		{"localhost:65536", "port 65536 is not between 1 and 65535"},
		{"localhost:99999999999999999999", "port 99999999999999999999 is not between 1 and 65535"},
		{"localhost:-1", `"-1" is neither a port number nor a service in /etc/services`},
		{"localhost:nosuch", `"nosuch" is neither a port number nor a service in /etc/services`},
		{"::1:25", `"::1:25": write an IPv6 address in brackets: [ADDRESS]:PORT`},
		{"[::1:25", `"[::1": the bracket is not closed`},
		{"[127.0.0.1]:25", `"[127.0.0.1]": the brackets do not contain an IPv6 address`},
		{"[nonsense]:25", `"[nonsense]": the brackets do not contain an IPv6 address`},
		{"a[nonsense]:25", `"a[nonsense]": the brackets do not contain an address`},
		{"127.0.0.1[127.0.0.2]:25", `"127.0.0.1[127.0.0.2]": an address can't stand for another one`},
		{"300.1.2.3:25", `"300.1.2.3" is not a host name: it looks like an IPv4 address, but is not one`},
		{"127.1:25", `"127.1" is not a host name: it looks like an IPv4 address, but is not one`},
		{"a b:25", `"a b" is not a host name: ' ' can't be part of it`},
		{"a\x1b[m:25", `"a\x1b[m": the bracket is not closed`},
		{"a\x1bm:25", `"a\x1bm" is not a host name: '\x1b' can't be part of it`},
		{"-a:25", `"-a" is not a host name: a part of it begins or ends with a hyphen`},
		{"a..b:25", `"a..b" is not a host name: a part of it is empty`},
		{strings.Repeat("a", 64) + ":25", `"` + strings.Repeat("a", 64) + `" is not a host name: a part of it is longer than 63 characters`},
		{"http://localhost:25", `"http://localhost:25": write HOST:PORT, without scheme`},
		{"unix:", "unix: has no path: write unix:/PATH"},
		{"unix:" + strings.Repeat("x", 108), "unix:" + strings.Repeat("x", 108) + ": the path is longer than 107 bytes"},
	} {
		target, err := probe.ParseTarget(test.in)
		if err == nil || err.Error() != test.want {
			t.Errorf("ParseTarget(%q) = %s, %v; want the error %s", test.in, target, err, test.want)
		}
	}
}

func TestJoinTarget(t *testing.T) {
	for _, test := range []struct{ host, port, want string }{
		{"localhost", "25", "localhost:25"},
		{"::1", "25", "[::1]:25"},
		{"[::1]", "smtp", "[::1]:25"},
		{"bücher.example", "25", "bücher.example:25"},
	} {
		target, err := probe.JoinTarget(test.host, test.port)
		if err != nil || target.String() != test.want {
			t.Errorf("JoinTarget(%q, %q) = %s, %v; want %s", test.host, test.port, target, err, test.want)
		}
	}
}

func FuzzParseTarget(f *testing.F) {
	for _, s := range []string{"localhost:25", "[::1]:smtp", "a[192.0.2.1]:25", "unix:/x", "bücher.example:1", "[fe80::1%lo]:1", "::1:25", "a:0", "xn--a:1", "[::ffff:1.2.3.4]:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		target, err := probe.ParseTarget(s)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\x1b\x00") && !strings.HasPrefix(s, "unix:") {
				t.Errorf("the error is not one clean line: %q", err)
			}
			return
		}
		if target.Path == "" && target.Port == 0 {
			t.Errorf("%q has port 0", s)
		}
		again, err := probe.ParseTarget(target.String())
		if err != nil || again != target {
			t.Errorf("%q reads as %+v, and its text %q as %+v, %v", s, target, target, again, err)
		}
	})
}
