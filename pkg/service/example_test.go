package service_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"time"

	"greetd.example/pkg/service"
)

// The zero Server tells each client its own address.
func ExampleServer() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	var srv service.Server
	served := make(chan error)
	go func() { served <- srv.Serve(service.Listener{Listener: service.Direct(ln)}) }()

	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	io.Copy(os.Stdout, client)
	client.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	fmt.Println(srv.Shutdown(ctx))
	fmt.Println(<-served)
	// Output:
	// Hello there, 127.0.0.1!
	// <nil>
	// service: server closed
}

// A greeting of one's own is appended to dst, so that a visit allocates nothing for it.
func ExampleGreeterFunc() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	srv := service.Server{
		Greeter: service.GreeterFunc(func(dst []byte, p service.Peer) ([]byte, error) {
			return fmt.Appendf(dst, "220 %s: visit %d, from %v\n", p.Listener, p.ID, p.Remote.Addr()), nil
		}),
	}
	defer srv.Close()
	go srv.Serve(service.Listener{Listener: ln, Name: "mail.example"})

	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	io.Copy(os.Stdout, client)
	// Output:
	// 220 mail.example: visit 1, from 127.0.0.1
}

// An observer gets the end of each visit, and failures to accept.
func ExampleObserverFuncs() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	visits := make(chan service.Visit, 1)
	srv := service.Server{
		Greeter:  service.Static("welcome\n"),
		Observer: service.ObserverFuncs{OnClosed: func(v service.Visit) { visits <- v }},
	}
	defer srv.Close()
	go srv.Serve(service.Listener{Listener: ln, Name: "greet"})

	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	io.Copy(os.Stdout, client)
	v := <-visits
	fmt.Println(v.Listener, v.Outcome, v.Written)
	// Output:
	// welcome
	// greet greeted 8
}

// Settings change without a restart: those of the server, and Unwrap and TLS of listeners by their name.
func ExampleServer_Update() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	srv := service.Server{Greeter: service.Static("good morning\n")}
	defer srv.Close()
	go srv.Serve(service.Listener{Listener: ln, Name: "greet"})

	for _, next := range []string{"good evening\n", "good night\n"} {
		client, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			log.Fatal(err)
		}
		io.Copy(os.Stdout, client)
		client.Close()
		srv.Update(service.Settings{Greeter: service.Static(next), LingerTimeout: time.Minute})
	}
	// Output:
	// good morning
	// good evening
}
