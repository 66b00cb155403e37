package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"greetd.example/pkg/service"
)

// All servers listen here. The client knows it too.
const (
	port    = "10000"
	address = "127.0.0.1:" + port

	everywhere = "0.0.0.0:" + port // where clients come over a link
)

// A peer is a server under test, as it is started.
type peer struct {
	name   string
	copies int // processes that share the port; 0: one
	args   []string
	env    []string
}

// A bench is one run of the program.
type bench struct {
	plan
	scratch string
	out     io.Writer
	files   int // in scratch, that have no other name

	outcomes []outcome

	client, floor, link, greetd, self string // programs
	nginx                             string // "" where it is not installed
}

func (b *bench) path(name string) string { return filepath.Join(b.scratch, name) }

// prepare builds what is compared.
func (b *bench) prepare(ctx context.Context) (err error) {
	b.client, b.floor, b.link, b.greetd = b.path("client"), b.path("floor"), b.path("link"), b.path("greetd")
	if b.self, err = os.Executable(); err != nil {
		return err
	}
	if b.nginx, err = exec.LookPath("nginx"); err != nil {
		b.nginx = "/usr/sbin/nginx"
	}
	commands := [][]string{
		{"gcc", "-O2", "-Wall", "-Werror", "-o", b.floor, "bench/c/floor.c"},
		{"gcc", "-O2", "-Wall", "-Werror", "-o", b.link, "bench/c/link.c"},
		{"gcc", "-O2", "-Wall", "-Werror", "-o", b.client, "bench/c/client.c", "-lssl", "-lcrypto"},
		{"go", "build", "-tags=nethttpomithttp2", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", b.greetd, "./cmd/greetd"},
	}
	for _, command := range commands {
		cmd := exec.CommandContext(ctx, command[0], command[1:]...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", strings.Join(command, " "), err, out)
		}
	}
	return b.makeCertificate()
}

// makeCertificate makes the one that all TLS servers show: ECDSA with P-256, as most do today.
func (b *bench) makeCertificate() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"greet.example"}, NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	var text bytes.Buffer
	_ = pem.Encode(&text, &pem.Block{Type: "CERTIFICATE", Bytes: der})
	_ = pem.Encode(&text, &pem.Block{Type: "PRIVATE KEY", Bytes: private})
	return os.WriteFile(b.path("pair.pem"), text.Bytes(), 0o600)
}

// nginxWith is nginx's stream module, with a worker for each core as its packages have it.
func (b *bench) nginxWith(listen string, lines ...string) peer {
	return b.nginxAt(address, listen, lines...)
}

func (b *bench) nginxAt(address, listen string, lines ...string) peer {
	text := fmt.Sprintf(`daemon off; worker_processes %d; worker_rlimit_nofile 20000; pid %s; error_log stderr error;
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
events { worker_connections 16384; }
stream { server { listen %s %s backlog=4096; %s } }
`, runtime.NumCPU(), b.path("nginx.pid"), address, listen, strings.Join(lines, "\n"))
	return peer{name: "nginx", args: []string{b.nginx, "-c", b.file(text)}}
}

// greetdWith is greetd with its defaults and these lines of configuration.
func (b *bench) greetdWith(name string, lines ...string) peer {
	return peer{name: name, args: []string{b.greetd, "--config", b.file(strings.Join(lines, "\n") + "\n")}}
}

// file returns a new file with a text. A server whose file is missing fails to start.
func (b *bench) file(text string) string {
	b.files++
	path := b.path(fmt.Sprintf("%d.conf", b.files))
	_ = os.WriteFile(path, []byte(text), 0o600)
	return path
}

// here is greetd's listener, with more keys of YAML in flow style.
func here(keys string) string { return at(address, keys) }

func at(address, keys string) string {
	return fmt.Sprintf("listeners: [{name: greet, address: %q%s}]", address, keys)
}

const unlogged = "log: {visits: none}"

// ours is a server within this program, see serve.
func (b *bench) ours(name string, args ...string) peer {
	return peer{name: name, args: append([]string{b.self, "serve"}, args...)}
}

// serve is a server for comparison: bare, or pkg/service with a number of acceptors.
func serve(args []string) int {
	var err error
	switch kind := args[0]; kind {
	case "bare":
		err = serveBare()
	case "acceptors":
		err = serveAcceptors(args[1])
	default:
		err = fmt.Errorf("serve what: %q", kind)
	}
	fmt.Fprintln(os.Stderr, "bench:", err)
	return 1
}

// serveBare is what one writes on the first page of a Go tutorial. With a client that stays
// connected it does what greetd does, and has a goroutine for it.
func serveBare() error {
	ln, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", address)
	if err != nil {
		return err
	}
	for {
		c, err := ln.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
			if _, err := fmt.Fprintf(c, "Hello there, %s!\n", host); err != nil {
				return
			}
			_ = c.(*net.TCPConn).CloseWrite()
			_ = c.SetReadDeadline(time.Now().Add(time.Hour))
			_, _ = io.Copy(io.Discard, c)
		}()
	}
}

// serveAcceptors serves on that many sockets that share the port.
func serveAcceptors(count string) error {
	n, err := strconv.Atoi(count)
	if err != nil {
		return err
	}
	var server service.Server
	ended := make(chan error)
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		failed := c.Control(func(fd uintptr) {
			err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, 15, 1) // SO_REUSEPORT
		})
		return errors.Join(failed, err)
	}}
	for range n {
		ln, err := config.Listen(context.Background(), "tcp", address)
		if err != nil {
			return err
		}
		go func() { ended <- server.Serve(service.Listener{Listener: service.Direct(ln), Name: "greet"}) }()
	}
	return <-ended
}
