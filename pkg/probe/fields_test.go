package probe_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"math"
	"net"
	"net/netip"
	"testing"
	"time"

	"greetd.example/internal/test/testserver"
	"greetd.example/pkg/probe"
)

// FuzzFields gives a Probe and a Target whatever their fields can hold: there is a result,
// in time, with one of the statuses, and its JSON can be read back.
func FuzzFields(f *testing.F) {
	f.Add("", "", "", "", "", "127.0.0.1", uint16(25), int64(0), int64(0), 0, 0, 0, 0, uint16(0))
	f.Add("smtp", "smtp", "me", "hi", "expect ^220", "localhost", uint16(0), int64(-1), int64(math.MaxInt64), math.MaxInt, 5, 3, 2, uint16(0xffff))
	f.Add("gopher", "LDAP", "a\r\nb", "\x00", "starttls \xff", "unix:/x", uint16(65535), int64(math.MinInt64), int64(1), -1, 6, 1, -1, uint16(1))
	f.Add("plain", "", "", "x", "send \\x0", "\x1b[2J", uint16(25), int64(math.MaxInt64), int64(-1), 1, 4, 2, 1, uint16(0x303))
	addr := parse(f, testserver.Listen(f, testserver.GreetAndClose("220 hi\r\n")).Addr).Addr
	f.Fuzz(func(t *testing.T, protocol, startTLS, ehlo, send, step, host string, port uint16, long, idle int64, size, family, proxy, odd int, version uint16) {
		parsed, _ := probe.ParseStep(step) // a zero Step if it is wrong
		pattern, _ := probe.Regexp(send)
		p := probe.Probe{
			Connect: time.Duration(long), Read: time.Duration(long), Idle: time.Duration(idle), Total: 300 * time.Millisecond,
			MaxBytes: size % (1 << 20), Family: family, Proxy: proxy, HangUp: probe.HangUp(odd), Protocol: probe.Protocol(protocol),
			StartTLS: probe.StartTLS(startTLS), EHLO: ehlo, Send: send, Quit: send, ExpectAll: odd > 0,
			Expect: []probe.Pattern{pattern, {}}, ConnectOnly: port%2 == 1, SendFirst: port%3 == 1,
			Dial: dialOdd(odd), Resolve: resolveOdd(odd, addr),
		}
		if step != "" {
			p.Steps = []probe.Step{parsed}
		}
		if odd%4 == 1 {
			p.TLS = &tls.Config{MinVersion: version, MaxVersion: version, Certificates: make([]tls.Certificate, 1)}
		}
		if odd%5 == 1 {
			p.Source = netip.AddrFrom4([4]byte{192, 0, 2, byte(port)})
		}
		began := time.Now()
		r := p.Do(t.Context(), probe.Target{Host: host, Port: port})
		if took := time.Since(began); took > 20*time.Second { // of a machine that may be busy
			t.Errorf("took %s", took)
		}
		if (r.Status == probe.OK) != (r.Err == nil) || r.Status == "" {
			t.Errorf("%q %v", r.Status, r.Err)
		}
		if p.Validate() != nil && r.Status != probe.LocalError {
			t.Errorf("%s of a bad probe", r.Status)
		}
		text, err := json.Marshal(r)
		var back probe.Result
		if err = errors.Join(err, json.Unmarshal(text, &back)); err != nil || back.Status != r.Status {
			t.Errorf("%s: %v\n%s", back.Status, err, text)
		}
	})
}

// dialOdd is a Dial that keeps away from the network.
func dialOdd(odd int) func(context.Context, string, string) (net.Conn, error) {
	return func(context.Context, string, string) (net.Conn, error) {
		if odd%3 == 2 {
			return nil, errors.New("no way")
		}
		client, server := net.Pipe()
		go func() {
			defer server.Close()
			_ = server.SetDeadline(time.Now().Add(time.Second))
			_, _ = server.Write([]byte("220-hi\r\n220 there ESMTP\r\n"))
			_, _ = server.Read(make([]byte, 1<<16))
		}()
		return client, nil
	}
}

func resolveOdd(odd int, addr netip.Addr) func(context.Context, string, string) ([]netip.Addr, error) {
	return func(context.Context, string, string) ([]netip.Addr, error) {
		switch odd % 4 {
		case 1:
			return nil, nil
		case 2:
			return []netip.Addr{{}, addr, addr}, nil
		case 3:
			return nil, errors.New("no name")
		}
		return []netip.Addr{addr}, nil
	}
}

// Each status survives its JSON.
func TestEachStatusReadsBack(t *testing.T) {
	for _, status := range probe.Statuses() {
		r := probe.Result{Time: time.Now(), Target: probe.Target{Host: "mail.example", Port: 25}, Status: status, Phase: probe.PhaseDone}
		if status != probe.OK {
			r.Err = errors.New("so it is")
		}
		text, err := json.Marshal(r)
		var back probe.Result
		if err = errors.Join(err, json.Unmarshal(text, &back)); err != nil {
			t.Fatal(err)
		}
		if back.Status != status || back.Target != r.Target || (back.Err == nil) != (r.Err == nil) || back.Phase != r.Phase {
			t.Errorf("%s: %+v", status, back)
		}
	}
}
