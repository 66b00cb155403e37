package service_test

import (
	"context"
	"errors"
	"net"
	"syscall"
	"testing"

	"greetd.example/pkg/service"
)

// BenchmarkVisit measures a plain visit over loopback, with the client's part of the work. The
// client is made of system calls alone, so that the allocations are the server's.
func BenchmarkVisit(b *testing.B) {
	for name, wrap := range map[string]func(net.Listener) net.Listener{
		"general": func(ln net.Listener) net.Listener { return ln },
		"direct":  service.Direct,
	} {
		for kind, greeter := range map[string]service.Greeter{"address": nil, "static": service.Static("hello\n")} {
			b.Run(name+"/"+kind, func(b *testing.B) { benchmarkVisits(b, wrap, greeter) })
		}
	}
}

func benchmarkVisits(b *testing.B, wrap func(net.Listener) net.Listener, greeter service.Greeter) {
	b.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	to := &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: ln.Addr().(*net.TCPAddr).Port}
	srv := &service.Server{Greeter: greeter}
	ended := make(chan error)
	go func() { ended <- srv.Serve(service.Listener{Listener: wrap(ln), Name: "greet"}) }()
	text := make([]byte, 64)
	b.ReportAllocs()
	for b.Loop() {
		if err := visitBySystemCalls(to, text); err != nil {
			b.Fatal(err)
		}
	}
	_ = srv.Shutdown(context.Background())
	if err := <-ended; !errors.Is(err, service.ErrClosed) {
		b.Errorf("Serve = %v", err)
	}
}

// visitBySystemCalls connects, reads to the end, and hangs up, without an allocation.
func visitBySystemCalls(to *syscall.SockaddrInet4, text []byte) error {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	err = syscall.Connect(fd, to)
	for n := 1; n > 0 && err == nil; {
		n, err = syscall.Read(fd, text)
	}
	return errors.Join(err, syscall.Close(fd))
}
