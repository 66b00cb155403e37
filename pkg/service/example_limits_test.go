package service_test

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"sync"
	"time"

	"greetd.example/pkg/service"
)

// onePerAddress admits a client if no other connection of its address is open.
type onePerAddress struct {
	open sync.Map
}

func (o *onePerAddress) Admit(p service.Peer) (leave func(), err error) {
	ip := p.Remote.Addr()
	if _, loaded := o.open.LoadOrStore(ip, true); loaded {
		return nil, errors.New("another connection is open")
	}
	return func() { o.open.Delete(ip) }, nil
}

// MaxConns and the timeouts bound what all clients together can take; Admit bounds each of them.
func Example_limits() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	refused := make(chan error, 1)
	var limit onePerAddress
	srv := service.Server{
		Admit:         limit.Admit,
		MaxConns:      10_000,          // where all are taken, the oldest lingering connection gives way
		WriteTimeout:  2 * time.Second, // for the whole greeting, however slowly a client reads
		LingerTimeout: time.Minute,     // for a client to hang up after it
		Observer: service.ObserverFuncs{OnClosed: func(v service.Visit) {
			if v.Outcome == service.Refused {
				refused <- v.Err
			}
		}},
	}
	defer srv.Close()
	go srv.Serve(service.Listener{Listener: ln, Name: "greet"})

	first, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	io.Copy(os.Stdout, first) // and does not hang up

	second, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	text, _ := io.ReadAll(second)
	fmt.Printf("the second reads %q: %v\n", text, <-refused)
	// Output:
	// Hello there, 127.0.0.1!
	// the second reads "": another connection is open
}
