package service_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"greetd.example/internal/test/memnet"
	"greetd.example/pkg/service"
)

// selfSigned makes a certificate for tests.
func selfSigned(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"greet.example"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func speakingTLS(t *testing.T) func(*service.Listener) {
	t.Helper()
	settings := &tls.Config{Certificates: []tls.Certificate{selfSigned(t)}, DynamicRecordSizingDisabled: true}
	return func(ln *service.Listener) { ln.TLS = settings }
}

func TestClientsWithoutTLSAreTold(t *testing.T) {
	for _, test := range []struct {
		name, says string
		outcome    service.Outcome
		why        string
	}{
		{"all at once", "GET / HTTP/1.1\r\nHost: greet.example\r\n", service.Refused, `does not speak TLS, it began with "GET / HTTP/1.1\r\n"`},
		{"less than a record's header", "HI\n", service.TimedOut, `does not speak TLS, it began with "HI\n"`},
		{"waiting for the greeting", "", service.TimedOut, "the client sent nothing, and may wait for plain text"},
		{"half a hello", "\x16\x03\x01\x02\x00\x01", service.TimedOut, "TLS handshake: read "},
		{"a hello that is none", "\x16\x03\x01\x00\x04A\x00\x00\x00", service.Refused, "TLS handshake: local error: tls: unexpected message"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := serve(t, &service.Server{}, speakingTLS(t))
				c := s.dial(t)
				_, _ = io.WriteString(c, test.says)
				time.Sleep(3*time.Second + time.Millisecond)
				if v := s.only(t); v.Outcome != test.outcome || !strings.Contains(v.Err.Error(), test.why) {
					t.Errorf("%q: %v, want %q: %v", v.Outcome, v.Err, test.outcome, test.why)
				}
			})
		})
	}
}

func TestGoodbyeIsNoReasonToStay(t *testing.T) {
	const timeout = time.Second
	stayed := false
	for length := memnet.Window - 3000; length < memnet.Window; length += 20 { // close_notify takes 24 bytes: at one length there is no room for it
		synctest.Test(t, func(t *testing.T) {
			s := serve(t, &service.Server{Greeter: service.Static(strings.Repeat("x", length)), WriteTimeout: timeout}, speakingTLS(t))
			c := s.dial(t)
			if err := tls.Client(c, &tls.Config{InsecureSkipVerify: true}).Handshake(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute) // and it does not read
			v := s.only(t)
			if v.Took > timeout {
				t.Errorf("the visit took %v", v.Took)
			}
			stayed = stayed || v.Outcome == service.Greeted && v.Took == timeout
		})
	}
	if !stayed {
		t.Error("at no length did close_notify find no room")
	}
}

// hello is the beginning of a TLS handshake.
const hello = "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"

func TestClientsThatExpectTLSAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var spoke []service.Peer
		srv := &service.Server{SpokeTLS: func(p service.Peer) { spoke = append(spoke, p) }}
		s := serve(t, srv)
		for _, says := range []string{"HELO stranger\r\n", hello, "\x16", ""} {
			c := s.dial(t)
			_, _ = io.WriteString(c, says)
			_ = c.CloseWrite()
			if got := read(t, c); got != "Hello there, 192.0.2.7!\n" {
				t.Errorf("greeting = %q", got)
			}
			synctest.Wait()
		}
		if len(spoke) != 1 || spoke[0].ID != 2 || spoke[0].Listener != "greet" || !spoke[0].Remote.IsValid() {
			t.Errorf("SpokeTLS was called with %+v, want the second", spoke)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, &service.Server{SpokeTLS: func(p service.Peer) { t.Errorf("SpokeTLS was called with %+v, which got what it expects", p) }}, speakingTLS(t))
		c := tls.Client(s.dial(t), &tls.Config{InsecureSkipVerify: true})
		_ = read(t, c)
		_, _ = io.WriteString(c, hello)
		_ = c.Close()
		synctest.Wait()
	})
}

func TestMistakesAboutTLSEndCleanly(t *testing.T) {
	for name, listen := range paths {
		t.Run(name, func(t *testing.T) {
			const much = 1 << 20
			var spoke atomic.Int32
			srv := &service.Server{SpokeTLS: func(service.Peer) { spoke.Add(1) }, LingerTimeout: time.Minute}
			plain := dialKernel(t, onKernel(t, srv, listen))
			if _, err := io.WriteString(plain, hello+strings.Repeat("x", much)); err != nil {
				t.Errorf("TLS to a plain listener: write: %v", err)
			}
			eventually(t, "SpokeTLS is called", func() bool { return spoke.Load() == 1 })
			if text, err := io.ReadAll(plain); err != nil || string(text) != "Hello there, 127.0.0.1!\n" {
				t.Errorf("TLS to a plain listener: read: %q, %v", text, err)
			}

			encrypting := &service.Server{LingerTimeout: time.Minute}
			c := dialKernel(t, onKernel(t, encrypting, listen, speakingTLS(t)))
			if _, err := io.WriteString(c, strings.Repeat("GET / HTTP/1.0\r\n", much/16)); err != nil {
				t.Errorf("plain text to a TLS listener: write: %v", err)
			}
			if text, err := io.ReadAll(c); err != nil || len(text) > 0 {
				t.Errorf("plain text to a TLS listener: read: %q, %v", text, err)
			}
		})
	}
}
