package service_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"os"

	"greetd.example/pkg/service"
	"greetd.example/pkg/systemd"
)

// greeter is a service.Server as package systemd runs it.
type greeter struct{ service.Server }

func (g *greeter) Serve(ln net.Listener) error {
	return g.Server.Serve(service.Listener{Listener: ln, Name: "greet"})
}

// Under systemd, the listener comes from a socket unit or outlives a restart in the fd store;
// SIGHUP reloads, SIGTERM drains, and the watchdog asks whether the accept loops work. Outside
// systemd it is a plain daemon.
func Example_systemd() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	svc, err := systemd.Start(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer svc.Close()
	ln, err := svc.Listen("greet", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	var srv greeter
	svc.OnReload(func(context.Context) error {
		srv.Update(service.Settings{Greeter: service.Static("the configuration is another one now\n")})
		return nil
	})
	svc.Watchdog(srv.Alive)

	ended := make(chan error)
	go func() { ended <- svc.Run(&srv, ln) }() // a daemon's main waits here, until SIGTERM
	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	io.Copy(os.Stdout, client)
	client.Close()
	stop()
	fmt.Println(<-ended)
	// Output:
	// Hello there, 127.0.0.1!
	// <nil>
}
