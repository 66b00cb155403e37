package systemd

import (
	"net"
	"slices"
	"strings"
	"testing"
)

// quiet is a listener that is only compared.
type quiet struct{ net.Listener }

// lost is one on a unix socket whose file is not there any more.
type lost struct{ quiet }

func (lost) Addr() net.Addr { return &net.UnixAddr{Net: "unix", Name: "/run/greetd/no-such-file"} }

// at is one with an address.
type at struct {
	net.Listener
	ip string
}

func (a at) Addr() net.Addr { return &net.TCPAddr{IP: net.ParseIP(a.ip), Port: 10000} }

func unit(name, address string) openSocket {
	return openSocket{Listener: quiet{}, Origin: SocketUnit, Name: name, Address: address}
}

func stored(address string) openSocket {
	return openSocket{Listener: quiet{}, Origin: FDStore, Name: storeName(address, fileID{}), Address: address}
}

func bound(address string) openSocket {
	return openSocket{Listener: quiet{}, Origin: OwnBind, Address: address}
}

func with(s openSocket, change func(*openSocket)) openSocket {
	change(&s)
	return s
}

func TestAssign(t *testing.T) {
	greet := ListenConfig{Name: "greet", Address: ":10000"}
	named := ListenConfig{Name: "named", Address: "two.example:10000"}
	mail := ListenConfig{Name: "mail", Address: "127.0.0.1:25"}
	local := ListenConfig{Name: "local", Address: "unix:/run/greetd/g.sock"}
	shared := ListenConfig{Name: "greet", Address: ":10000", ReusePort: true}
	long := ListenConfig{Name: "long", Address: strings.Repeat("ö", 120) + ":10000"}

	for name, tc := range map[string]struct {
		wants    []ListenConfig
		sockets  []openSocket
		serving  []string // for each want, the names or else addresses of its sockets
		obsolete []string
	}{
		"nothing passed": {
			wants:   []ListenConfig{greet, mail},
			serving: []string{"", ""},
		},
		"by name": {
			wants:   []ListenConfig{greet, mail},
			sockets: []openSocket{unit("mail", "[::]:25"), unit("greet", "[::]:7")},
			serving: []string{"greet", "mail"},
		},
		"IPv4 and IPv6 under one name": {
			wants:   []ListenConfig{greet},
			sockets: []openSocket{unit("greet", "0.0.0.0:7"), unit("greet", "[::]:7")},
			serving: []string{"greet greet"},
		},
		"the addresses of a host name": {
			wants: []ListenConfig{greet, named},
			sockets: []openSocket{
				with(bound("two.example:10000"), func(s *openSocket) { s.Listener = at{ip: "192.0.2.1"} }),
				with(stored("two.example:10000"), func(s *openSocket) { s.Listener = at{ip: "192.0.2.2"} }),
				with(bound("two.example:10000"), func(s *openSocket) { s.Listener, s.Name = at{ip: "192.0.2.2"}, "again" }),
			},
			serving:  []string{"", "two.example:10000 " + storeName("two.example:10000", fileID{})},
			obsolete: []string{"again"},
		},
		"no name, one listener": {
			wants:   []ListenConfig{greet},
			sockets: []openSocket{unit("", "0.0.0.0:7"), unit("", "unix:/x")},
			serving: []string{"0.0.0.0:7 unix:/x"},
		},
		"no name, by address": {
			wants:   []ListenConfig{greet, mail, local},
			sockets: []openSocket{unit("", "unix:/run/greetd/../greetd/g.sock"), unit("", "127.0.0.1:25"), unit("", "[::]:10000"), unit("", "0.0.0.0:10000")},
			serving: []string{"[::]:10000 0.0.0.0:10000", "127.0.0.1:25", "unix:/run/greetd/../greetd/g.sock"},
		},
		"some with a name": {
			wants:   []ListenConfig{greet, mail},
			sockets: []openSocket{unit("greet", "[::]:1"), unit("", "127.0.0.1:25")},
			serving: []string{"greet", "127.0.0.1:25"},
		},
		"socket unit after own bind": {
			wants:    []ListenConfig{greet},
			sockets:  []openSocket{unit("greet", "[::]:10000"), stored(":10000"), stored(":99")},
			serving:  []string{"greet"},
			obsolete: []string{"greetd-own/%3A10000", "greetd-own/%3A99"},
		},
		"stored, of a renamed listener": {
			wants:   []ListenConfig{{Name: "hello", Address: ":10000"}},
			sockets: []openSocket{stored(":10000")},
			serving: []string{"greetd-own/%3A10000"},
		},
		"stored, and one more": {
			wants:   []ListenConfig{mail, greet},
			sockets: []openSocket{stored(":10000")},
			serving: []string{"", "greetd-own/%3A10000"},
		},
		"stored for another address": {
			wants:    []ListenConfig{greet},
			sockets:  []openSocket{stored(":10001")},
			serving:  []string{""},
			obsolete: []string{"greetd-own/%3A10001"},
		},
		"stored twice": {
			wants:    []ListenConfig{shared},
			sockets:  []openSocket{with(stored(":10000"), func(s *openSocket) { s.ReusePort = true }), with(stored(":10000"), func(s *openSocket) { s.ReusePort = true })},
			serving:  []string{"greetd-own/%3A10000"},
			obsolete: []string{"greetd-own/%3A10000"},
		},
		"stored without reuse_port": {
			wants:    []ListenConfig{shared},
			sockets:  []openSocket{stored(":10000")},
			serving:  []string{""},
			obsolete: []string{"greetd-own/%3A10000"},
		},
		"stored, but not listening any more": {
			wants:    []ListenConfig{greet},
			sockets:  []openSocket{with(stored(":10000"), func(s *openSocket) { s.Listener = nil })},
			serving:  []string{""},
			obsolete: []string{"greetd-own/%3A10000"},
		},
		"stored, but its file is gone": {
			wants:    []ListenConfig{local},
			sockets:  []openSocket{with(stored(local.Address), func(s *openSocket) { s.Listener, s.file = lost{}, &socketFile{} })},
			serving:  []string{""},
			obsolete: []string{"greetd-own/unix%3A%2Frun%2Fgreetd%2Fg.sock"},
		},
		"stored under a name that nobody knows": {
			wants:    []ListenConfig{greet},
			sockets:  []openSocket{{Listener: quiet{}, Origin: FDStore, Name: "greetd-own/%zz"}},
			serving:  []string{""},
			obsolete: []string{"greetd-own/%zz"},
		},
		"stored under a hashed name": {
			wants:   []ListenConfig{greet, long},
			sockets: []openSocket{{Listener: quiet{}, Origin: FDStore, Name: storeName(long.Address, fileID{})}},
			serving: []string{"", storeName(long.Address, fileID{})},
		},
		"reload": {
			wants:    []ListenConfig{mail, greet},
			sockets:  []openSocket{bound(":10000"), bound(":99")},
			serving:  []string{"", ":10000"},
			obsolete: []string{":99"},
		},
		"no listener left": {
			sockets:  []openSocket{bound(":10000")},
			obsolete: []string{":10000"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := assign(tc.wants, tc.sockets)
			if err != nil {
				t.Fatal(err)
			}
			var serving []string
			for i, sockets := range got.Serving {
				serving = append(serving, strings.Join(labels(sockets), " "))
				for _, s := range sockets {
					if s.Origin != SocketUnit && s.Address != tc.wants[i].Address {
						t.Errorf("the socket of %s has address %q", tc.wants[i].Name, s.Address)
					}
				}
			}
			if !slices.Equal(serving, tc.serving) {
				t.Errorf("serving = %q, want %q", serving, tc.serving)
			}
			if got := labels(got.Obsolete); !slices.Equal(got, tc.obsolete) {
				t.Errorf("obsolete = %q, want %q", got, tc.obsolete)
			}
		})
	}
}

func labels(sockets []openSocket) []string {
	var all []string
	for _, s := range sockets {
		label := s.Name
		if label == "" {
			label = s.Address
		}
		all = append(all, label)
	}
	return all
}

func TestAssignRefuses(t *testing.T) {
	greet := ListenConfig{Name: "greet", Address: ":10000"}
	mail := ListenConfig{Name: "mail", Address: "127.0.0.1:25"}

	for name, tc := range map[string]struct {
		wants   []ListenConfig
		sockets []openSocket
		reasons []string
	}{
		"an unknown name": {
			wants:   []ListenConfig{greet},
			sockets: []openSocket{unit("greet", "[::]:7"), unit("web", "[::]:80")},
			reasons: []string{`systemd passed the socket "web" ([::]:80), but no listener has that name: set FileDescriptorName= in its .socket unit to one of "greet", or add the listener`},
		},
		"the name of its unit": {
			wants:   []ListenConfig{greet},
			sockets: []openSocket{unit("greet", "[::]:7"), unit("web.socket", "[::]:80")},
			reasons: []string{`systemd passed the socket "web.socket" ([::]:80), but no listener has that name: set FileDescriptorName= in web.socket to one of "greet", or add the listener`},
		},
		"a listener without a socket": {
			wants:   []ListenConfig{greet, mail},
			sockets: []openSocket{unit("greet", "[::]:7"), stored("127.0.0.1:25")},
			reasons: []string{`systemd passed sockets, but none for listener "mail": set FileDescriptorName=mail in its .socket unit, or remove the listener`},
		},
		"no name and no address": {
			wants:   []ListenConfig{greet, mail},
			sockets: []openSocket{unit("greet", "[::]:7"), unit("mail", "[::]:8"), unit("", "127.0.0.2:25"), unit("", "unix:/x")},
			reasons: []string{
				`systemd passed the socket 127.0.0.2:25 without a name, and no listener has its address: set FileDescriptorName= in its .socket unit to one of "greet", "mail"`,
				`systemd passed the socket unix:/x without a name`,
			},
		},
		"all of it": {
			wants:   []ListenConfig{greet, mail},
			sockets: []openSocket{unit("web", "[::]:80")},
			reasons: []string{`"web"`, `"greet"`, `"mail"`},
		},
		"sockets without any listener": {
			sockets: []openSocket{unit("", "[::]:80")},
			reasons: []string{"systemd passed the socket [::]:80, but the configuration has no listener"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := assign(tc.wants, tc.sockets)
			if err == nil {
				t.Fatalf("got %v, want an error", got)
			}
			for _, reason := range tc.reasons {
				if !strings.Contains(err.Error(), reason) {
					t.Errorf("error:\n%v\nlacks:\n%s", err, reason)
				}
			}
			if got.Serving != nil || got.Obsolete != nil {
				t.Errorf("got %v beside the error", got)
			}
		})
	}
}

func TestAddressesOf(t *testing.T) {
	for _, address := range []string{":10000", "0.0.0.0:10000", "[::]:10000", "192.0.2.1:10000", "[fe80::1%eth0]:10000", "localhost:0", "no-such-name.invalid:10000", "unix:/run/x.sock", "unix:@x", "x"} {
		if got := addressesOf(t.Context(), address, nil); !slices.Equal(got, []string{address}) {
			t.Errorf("%s: %q", address, got)
		}
	}
	all := addressesOf(t.Context(), "localhost:10000", nil)
	if all[0] != "127.0.0.1:10000" {
		t.Errorf("localhost: %q, want 127.0.0.1 first", all)
	}
	left := addressesOf(t.Context(), "localhost:10000", []ListenConfig{{Address: "localhost:10000"}, {Address: "127.0.0.1:10000"}})
	if slices.Contains(left, "127.0.0.1:10000") {
		t.Errorf("localhost: %q, though another listener has 127.0.0.1", left)
	}
}

// The error has the host name as it was configured, and the address that could not be bound.
func TestBindAllNamesTheHost(t *testing.T) {
	taken, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, port, _ := net.SplitHostPort(taken.Addr().String())
	svc := &Service{Report: func(err error) { t.Error(err) }}
	_, err = svc.bindAll(t.Context(), ListenConfig{Name: "greet", Address: "localhost:" + port}, nil)
	if err == nil || !strings.HasPrefix(err.Error(), "localhost:"+port+": listen on 127.0.0.1:"+port+": ") {
		t.Errorf("error: %v", err)
	}
}

func FuzzStoreName(f *testing.F) {
	f.Add(":10000", uint64(0), uint64(0))
	f.Add("unix:/run/greetd/ö b.sock", uint64(26), uint64(1234))
	f.Add(strings.Repeat("long.", 60)+":1", uint64(1)<<63, uint64(1)<<63)
	f.Add("sha256=ab", uint64(0), uint64(1))
	f.Fuzz(func(t *testing.T, address string, device, inode uint64) {
		file := fileID{device, inode}
		name := storeName(address, file)
		if len(name) > maxStoreName || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 127 || r == ':' }) {
			t.Fatalf("systemd would not take the name %q", name)
		}
		if !storedFor(name, address) {
			t.Errorf("%q is not for %q", name, address)
		}
		if storedFor(name, address+"0") {
			t.Errorf("%q is for another address", name)
		}
		back, backFile := parseStoreName(name)
		if backFile != file {
			t.Errorf("file %v came back as %v", file, backFile)
		}
		if hashed := strings.HasPrefix(name, storePrefix+hashedPrefix); back != address && !hashed {
			t.Errorf("address %q came back as %q", address, back)
		}
	})
}

func FuzzParseStoreName(f *testing.F) {
	f.Add("greetd-own/%3A10000")
	f.Add("greetd-own/%zz/1.x")
	f.Add("greetd-own/sha256=/")
	f.Fuzz(func(t *testing.T, name string) {
		address, file := parseStoreName(storePrefix + name)
		if storedFor(storeName(address, file), address+"x") {
			t.Error("two addresses share a name")
		}
	})
}
