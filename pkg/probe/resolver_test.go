package probe

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func write(t *testing.T, name, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestWhoIsAsked(t *testing.T) {
	for _, test := range []struct {
		hosts, name string
		want        whom
	}{
		{"files dns", "mail.example", askOurselves},
		{"files mdns4_minimal [NOTFOUND=return] dns", "mail.example", askOurselves},
		{"files mdns4_minimal [NOTFOUND=return] dns", "printer.local", askLibrary},
		{"files myhostname dns", "_gateway", askLibrary},
		{"files myhostname dns", "mail.example", askOurselves},
		{"mymachines resolve [!UNAVAIL=return] files myhostname dns", "mail.example", askResolved},
		{"mymachines resolve [!UNAVAIL=return] files myhostname dns", "container", askLibrary},
		{"files sss dns", "mail.example", askLibrary},
		{"files [!UNAVAIL=return] nis # a comment: dns", "mail.example", askLibrary},
		{"files resolve dns", "localhost", askOurselves},
	} {
		s := resolver{nsswitch: write(t, "nsswitch.conf", "# hosts: nis\npasswd: files nis\nhosts:\t"+test.hosts+"\n", 0o644)}
		if got := s.askWhom(test.name); got != test.want {
			t.Errorf("%s of %q: %d, want %d", test.name, test.hosts, got, test.want)
		}
	}
	if got := (resolver{nsswitch: "/nosuch"}).askWhom("mail.example"); got != askOurselves {
		t.Errorf("without the file: %d", got)
	}
}

// fakeResolved answers as systemd-resolved does, and notes what it was asked.
func fakeResolved(t *testing.T, answer string) (socket string, asked <-chan string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	calls := make(chan string, 10)
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			call, _ := bufio.NewReader(conn).ReadString(0)
			calls <- call
			conn.Write([]byte(answer + "\x00"))
			conn.Close()
		}
	}()
	return socket, calls
}

func TestResolvedIsAsked(t *testing.T) {
	for _, test := range []struct{ network, answer, want string }{
		{"ip4", `{"parameters":{"addresses":[{"ifindex":2,"family":2,"address":[192,0,2,7]}],"name":"x","flags":1}}`, "[192.0.2.7] <nil>"},
		{"ip6", `{"parameters":{"addresses":[{"ifindex":1,"family":10,"address":[254,128,0,0,0,0,0,0,0,0,0,0,0,0,0,1]}]}}`, "[fe80::1%lo] <nil>"},
		{"ip4", `{"error":"io.systemd.Resolve.NoSuchResourceRecord","parameters":{}}`, "[] lookup printer.lan: no such host"},
		{"ip4", `{"error":"io.systemd.Resolve.DNSError","parameters":{"rcode":3}}`, "[] lookup printer.lan: no such host"},
		{"ip4", `{"error":"io.systemd.Resolve.DNSError","parameters":{"rcode":2}}`, "[] systemd-resolved got the DNS error 2"},
		{"ip4", `{"error":"io.systemd.Resolve.QueryTimedOut","parameters":{}}`, "[] systemd-resolved got no answer"},
	} {
		socket, asked := fakeResolved(t, test.answer)
		s := resolver{nsswitch: write(t, "nsswitch.conf", "hosts: resolve files dns\n", 0o644), resolved: socket, getent: "/nosuch"}
		addrs, err := s.lookup(t.Context(), test.network, "printer.lan")
		if got := fmt.Sprint(addrs, " ", err); got != test.want {
			t.Errorf("%s: %s, want %s", test.answer, got, test.want)
		}
		family := map[string]string{"ip4": "2", "ip6": "10"}[test.network]
		if call, want := <-asked, `{"method":"io.systemd.Resolve.ResolveHostname","parameters":{"name":"printer.lan","family":`+family+`}}`+"\x00"; call != want {
			t.Errorf("asked %q, want %q", call, want)
		}
	}
}

func TestTheLibraryIsAsked(t *testing.T) {
	getent := write(t, "getent", `#!/bin/sh
case "$*" in
"ahostsv4 -- box") printf '192.0.2.8       STREAM box\n192.0.2.8       DGRAM\n192.0.2.9       STREAM\n' ;;
"ahostsv6 -- box") printf '::ffff:192.0.2.8 STREAM box\n' ;;
"-A ahostsv4 -- newbox") printf '192.0.2.7       STREAM newbox\n' ;;
-A*box) echo "getent: invalid option -- 'A'" >&2; exit 64 ;;
*) exit 2 ;;
esac
`, 0o755)
	s := resolver{nsswitch: write(t, "nsswitch.conf", "hosts: files resolve mymachines dns\n", 0o644), resolved: "/nosuch", getent: getent}
	for _, test := range []struct{ network, name, want string }{
		{"ip4", "box", "[192.0.2.8 192.0.2.9] <nil>"},
		{"ip6", "box", "[] lookup box: no such host"},
		{"ip4", "newbox", "[192.0.2.7] <nil>"},
		{"ip4", "nobox", "[] lookup nobox: no such host"},
		{"ip4", "no.box", "[] lookup no.box: no such host"}, // systemd-resolved is not there
	} {
		addrs, err := s.lookup(t.Context(), test.network, test.name)
		if got := fmt.Sprint(addrs, " ", err); got != test.want {
			t.Errorf("%s of %s: %s, want %s", test.network, test.name, got, test.want)
		}
	}
}

// A name server that wants no EDNS gets a question without it.
func TestWithoutOPT(t *testing.T) {
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	go func() {
		b := make([]byte, 1500)
		for {
			n, from, err := udp.ReadFrom(b)
			if err != nil {
				return
			}
			reply := append([]byte(nil), b[:n]...)
			reply[2] |= 0x80
			if b[11] > 0 { // the additional section has an OPT record
				reply[3] = reply[3]&0xf0 | 1 // FORMERR
				reply = reply[:12]
				reply[5], reply[11] = 0, 0
			} else {
				reply[7] = 1
				reply = append(reply, 0xc0, 12, 0, b[n-3], 0, 1, 0, 0, 0, 9)
				if b[n-3] == 1 {
					reply = append(reply, 0, 4, 192, 0, 2, 5)
				} else {
					reply = append(append(reply, 0, 16), netip.MustParseAddr("2001:db8::5").AsSlice()...)
				}
			}
			udp.WriteTo(reply, from)
		}
	}()
	dial := func(plain bool) func(context.Context, string, string) (net.Conn, error) {
		return func(ctx context.Context, network, _ string) (net.Conn, error) {
			if plain {
				return dialPlain(ctx, network, udp.LocalAddr().String())
			}
			return new(net.Dialer).DialContext(ctx, network, udp.LocalAddr().String())
		}
	}
	with := net.Resolver{PreferGo: true, Dial: dial(false)}
	if addrs, err := with.LookupNetIP(t.Context(), "ip4", "mail.example."); err == nil {
		t.Errorf("with EDNS it answers %v", addrs)
	}
	without := net.Resolver{PreferGo: true, Dial: dial(true)}
	for network, want := range map[string]string{"ip4": "[192.0.2.5]", "ip6": "[2001:db8::5]"} {
		if addrs, err := without.LookupNetIP(t.Context(), network, "mail.example."); fmt.Sprint(addrs) != want {
			t.Errorf("%s: %v, %v, want %s", network, addrs, err, want)
		}
	}
}

// The second question comes after an error, or after a second of silence, and the first
// good answer counts.
func TestSecondQuestion(t *testing.T) {
	bad := &net.DNSError{Err: "server misbehaving"}
	for _, test := range []struct {
		name      string
		first     error
		after     time.Duration
		second    error
		want      string
		took      time.Duration
		questions int
	}{
		{"good", nil, 0, nil, "1 <nil>", 0, 1},
		{"no such host", &net.DNSError{Err: "no such host", IsNotFound: true}, 0, nil, "1 lookup : no such host", 0, 1},
		{"misbehaving", bad, 0, nil, "2 <nil>", 0, 2},
		{"silent", bad, 10 * time.Second, nil, "2 <nil>", time.Second, 2},
		{"slow", nil, 1500 * time.Millisecond, bad, "1 <nil>", 1500 * time.Millisecond, 2},
		{"both bad", bad, 0, errors.New("other"), "1 lookup : server misbehaving", 0, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				var questions atomic.Int64
				got, err := withPlain(t.Context(), func(ctx context.Context, r *net.Resolver) (int, error) {
					questions.Add(1)
					if r.Dial != nil {
						return 2, test.second
					}
					wait, cancel := context.WithTimeout(ctx, test.after)
					defer cancel()
					<-wait.Done()
					return 1, test.first
				})
				if text := fmt.Sprint(got, " ", err); text != test.want || time.Since(began) != test.took || int(questions.Load()) != test.questions {
					t.Errorf("%s after %s and %d questions, want %s after %s and %d", text, time.Since(began), questions.Load(), test.want, test.took, test.questions)
				}
			})
		})
	}
}

func TestAddressesDoNotWaitForIPv6(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := Probe{Resolve: func(ctx context.Context, network, _ string) ([]netip.Addr, error) {
			if network == "ip6" {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return []netip.Addr{netip.MustParseAddr("192.0.2.1")}, nil
		}}
		began := time.Now()
		target, _ := ParseTarget("mail.example:25")
		addrs, err := p.Addresses(t.Context(), target)
		if len(addrs) != 1 || err != nil || time.Since(began) != resolutionDelay {
			t.Errorf("%v, %v after %s, want one address after %s", addrs, err, time.Since(began), resolutionDelay)
		}
	})
}
