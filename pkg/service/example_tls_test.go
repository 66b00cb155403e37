package service_test

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net"
	"net/http/httptest"
	"os"

	"greetd.example/pkg/service"
)

// TLS belongs to one listener: another one of the same server greets in plain text.
func ExampleListener_tls() {
	certificate, roots := certificateForTests()
	encrypted, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	var srv service.Server
	defer srv.Close()
	go srv.Serve(service.Listener{Listener: encrypted, TLS: &tls.Config{Certificates: []tls.Certificate{certificate}}})
	go srv.Serve(service.Listener{Listener: plain})

	c, err := tls.Dial("tcp", encrypted.Addr().String(), &tls.Config{RootCAs: roots})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	io.Copy(os.Stdout, c)

	p, err := net.Dial("tcp", plain.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	defer p.Close()
	io.Copy(os.Stdout, p)
	// Output:
	// Hello there, 127.0.0.1!
	// Hello there, 127.0.0.1!
}

// certificateForTests stands for tls.LoadX509KeyPair. It is one for 127.0.0.1, and what clients
// must trust for it.
func certificateForTests() (tls.Certificate, *x509.CertPool) {
	web := httptest.NewUnstartedServer(nil)
	web.StartTLS()
	defer web.Close()
	roots := x509.NewCertPool()
	roots.AddCert(web.Certificate())
	return web.TLS.Certificates[0], roots
}
