package service_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"greetd.example/pkg/service"
)

// A daemon's life: it serves until SIGTERM, then lets the clients that are there come to their end
// for some seconds, and cuts those that are left.
func Example_drain() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	var srv service.Server
	served := make(chan error, 1)
	go func() { served <- srv.Serve(service.Listener{Listener: ln, Name: "greet"}) }()

	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	io.Copy(os.Stdout, client)
	client.Close()
	terminate() // in place of systemctl stop

	select {
	case err := <-served: // the listener is broken
		fmt.Println(err)
	case <-ctx.Done():
		fmt.Println("received SIGTERM, draining")
	}
	stop() // from here on, another signal ends the process
	draining, cancel := context.WithTimeoutCause(context.Background(), 10*time.Second, errors.New("drain timeout"))
	defer cancel()
	if err := srv.Shutdown(draining); err != nil {
		fmt.Println("cut the remaining connections:", err)
	}
	for _, l := range srv.Stats() {
		fmt.Println(l.Name, "greeted", l.Visits[service.Greeted], "cut", l.Visits[service.Cut])
	}
	// Output:
	// Hello there, 127.0.0.1!
	// received SIGTERM, draining
	// greet greeted 1 cut 0
}

// terminate sends SIGTERM to this process.
func terminate() {
	self, err := os.FindProcess(os.Getpid())
	if err == nil {
		err = self.Signal(syscall.SIGTERM)
	}
	if err != nil {
		log.Fatal(err)
	}
}
