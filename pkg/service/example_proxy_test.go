package service_test

import (
	"bufio"
	"fmt"
	"io"
	"log"
	"net"
	"os"

	"github.com/pires/go-proxyproto"

	"greetd.example/pkg/service"
)

// A viaProxy is the connection of a client behind a load balancer.
type viaProxy struct {
	net.Conn
	header *proxyproto.Header
}

func (c viaProxy) RemoteAddr() net.Addr { return c.header.SourceAddr }
func (c viaProxy) LocalAddr() net.Addr  { return c.header.DestinationAddr }

// readHeader needs no deadline: HandshakeTimeout bounds it. Its error refuses the client.
func readHeader(c net.Conn) (net.Conn, error) {
	header, err := proxyproto.Read(bufio.NewReader(c))
	if err != nil {
		return nil, err
	}
	return viaProxy{c, header}, nil
}

// Behind a load balancer, Unwrap learns from the PROXY header who the client is. Only the load
// balancer may reach such a listener, since a client could claim any address.
func ExampleListener_proxy() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	var srv service.Server
	defer srv.Close()
	go srv.Serve(service.Listener{Listener: ln, Unwrap: readHeader})

	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "PROXY TCP4 203.0.113.5 198.51.100.1 4711 10000\r\n") // what the load balancer sends
	io.Copy(os.Stdout, c)
	// Output:
	// Hello there, 203.0.113.5!
}
