package systemd_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"sync/atomic"

	"greetd.example/pkg/systemd"
)

// A web server. Its socket comes from a socket unit, else from the fd store, else it binds one.
// SIGHUP reloads, SIGTERM drains, and the watchdog checks the server with a request.
func Example() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	svc, err := systemd.Start(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer svc.Close()
	ln, err := svc.Listen("web", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}

	var page atomic.Value // the content of a configuration file
	load := func(context.Context) error {
		page.Store("Hello there!\n")
		return nil
	}
	if err := load(ctx); err != nil {
		log.Fatal(err)
	}
	svc.OnReload(load)
	url := "http://" + ln.Addr().String()
	svc.Watchdog(func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodHead, url, http.NoBody)
		if err != nil {
			return err
		}
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			return err
		}
		return answer.Body.Close()
	})

	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, page.Load())
	})}
	ended := make(chan error)
	go func() { ended <- svc.Run(server, ln) }() // a daemon's main waits here, until SIGTERM

	answer, err := http.Get(url)
	if err != nil {
		log.Fatal(err)
	}
	io.Copy(os.Stdout, answer.Body)
	answer.Body.Close()
	stop()
	fmt.Println(<-ended)
	// Output:
	// Hello there!
	// <nil>
}

// A server that is not an http.Server. Its accept loop ends when the listener is closed, and Drain
// waits for its connections.
func ExampleService_Drain() {
	ctx, stop := context.WithCancel(context.Background())
	svc, err := systemd.Start(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer svc.Close()
	ln, err := svc.Listen("echo", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	served := make(chan error, 1)
	go func() {
		conn, err := ln.Accept()
		if err == nil {
			_, err = io.Copy(conn, conn)
			conn.Close()
		}
		served <- err
	}()
	if err := svc.Ready(); err != nil {
		log.Fatal(err)
	}

	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Fprint(client, "under way\n")
	stop() // in place of systemctl stop
	why, err := svc.Wait(nil)
	fmt.Println(why, err)
	client.(*net.TCPConn).CloseWrite()
	err = svc.Drain(context.Background(), func(ctx context.Context) error {
		ln.Close()
		select {
		case err := <-served:
			return err
		case <-ctx.Done():
			return context.Cause(ctx) // cut what is left
		}
	})
	io.Copy(os.Stdout, client)
	fmt.Println(err)
	// Output:
	// context canceled <nil>
	// under way
	// <nil>
}

// A reload that changes the listeners applies either all of the new configuration or nothing.
func ExampleService_Prepare() {
	svc, err := systemd.Start(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	defer svc.Close()
	apply := func(ctx context.Context, configs ...systemd.ListenConfig) error {
		change, err := svc.Prepare(ctx, configs)
		if err != nil {
			return err // nothing has changed
		}
		// Apply the rest of the configuration here. If that fails, call change.Rollback.
		opened, ended := change.Commit()
		for _, ln := range opened {
			fmt.Println("serve", ln.Name())
		}
		for _, ln := range ended {
			fmt.Println("ended", ln.Name())
		}
		return nil
	}
	public := systemd.ListenConfig{Name: "public", Address: "127.0.0.1:0"}
	internal := systemd.ListenConfig{Name: "internal", Address: "[::1]:0"}
	elsewhere := systemd.ListenConfig{Name: "elsewhere", Address: "192.0.2.1:80"} // not of this machine
	fmt.Println(apply(context.Background(), public))
	fmt.Println(apply(context.Background(), public, internal))
	fmt.Println(apply(context.Background(), internal, elsewhere) != nil)
	fmt.Println(apply(context.Background(), internal))
	// Output:
	// serve public
	// <nil>
	// serve internal
	// <nil>
	// true
	// ended public
	// <nil>
}

// The fd store of systemd keeps any descriptor across a restart, and even across a crash. Here it is a
// UDP socket: datagrams wait in it until the next process reads them.
func ExampleNotifier_Store() {
	svc, err := systemd.Start(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	defer svc.Close()
	var conn net.PacketConn
	if kept := svc.Stored("dns"); len(kept) > 0 {
		conn, err = net.FilePacketConn(kept[0])
		kept[0].Close()
	} else {
		conn, err = net.ListenPacket("udp", "127.0.0.1:0")
		if err == nil {
			err = svc.Notifier.Store("dns", conn.(*net.UDPConn)) // does nothing outside systemd
		}
	}
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(conn.LocalAddr().Network())
	conn.Close()
	// Output:
	// udp
}

// In a program: func main() { os.Exit(systemd.Main(serve)) }.
func ExampleMain() {
	code := systemd.Main(func(ctx context.Context, svc *systemd.Service) error {
		fmt.Println(svc.State())
		return nil // of svc.Run, in a daemon
	})
	fmt.Println("exit code", code)
	// Output:
	// starting
	// exit code 0
}

// ExecReload=/usr/bin/httpd reload: systemctl reload waits for the daemon, and fails with its error.
func ExampleRequestReload() {
	if len(os.Args) > 1 && os.Args[1] == "reload" {
		if err := systemd.RequestReload(context.Background()); err != nil {
			log.Fatal(err)
		}
		return
	}
	svc, err := systemd.Start(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	defer svc.Close()
	if err := svc.AcceptReloads(); err != nil { // before Ready
		log.Fatal(err)
	}
	fmt.Println(svc.State())
	// Output:
	// starting
}
