package probe_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"greetd.example/pkg/probe"
)

// greeter is a server for the examples: it sends text to each client.
func greeter(text string) (target probe.Target, stop func()) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, text)
			c.Close()
		}
	}()
	target, err = probe.ParseTarget(ln.Addr().String())
	if err != nil {
		panic(err)
	}
	return target, func() { ln.Close() }
}

// What does a server say?
func ExampleProbe_Do() {
	target, stop := greeter("220 mail.example ESMTP\r\n")
	defer stop()

	var p probe.Probe // the defaults
	r := p.Do(context.Background(), target)
	if r.Err != nil {
		fmt.Println(r.Status, r.Err)
		return
	}
	fmt.Printf("%s: %s", r.Status, r.Greeting.Bytes)
	// Output: ok: 220 mail.example ESMTP
}

// A name and a port come from a user: ParseTarget says what is wrong with them.
func ExampleParseTarget() {
	for _, s := range []string{"mail.example:smtp", "[2001:db8::1]:25", "unix:/run/greet.sock", "mail.example"} {
		target, err := probe.ParseTarget(s)
		if err != nil {
			fmt.Println("error:", err)
			continue
		}
		fmt.Println(target)
	}
	// Output:
	// mail.example:25
	// [2001:db8::1]:25
	// unix:/run/greet.sock
	// error: "mail.example" has no port: write HOST:PORT
}

// A greeting can be held against what it should contain.
func ExampleProbe_expect() {
	target, stop := greeter("550 go away\r\n")
	defer stop()

	code, err := probe.Regexp(`^220 `)
	if err != nil {
		panic(err)
	}
	p := probe.Probe{Expect: []probe.Pattern{code}, Total: 2 * time.Second}
	r := p.Do(context.Background(), target)
	fmt.Println(r.Status == probe.OK)
	// Output: false
}

// TLS from the first byte, with the certificate's facts.
func ExampleProbe_tls() {
	p := probe.Probe{TLS: &tls.Config{ServerName: "mail.example"}}
	r := p.Do(context.Background(), probe.Target{Host: "127.0.0.1", Port: 465})
	if r.TLS != nil {
		fmt.Println(r.TLS.Version, r.TLS.Verified, r.TLS.NotAfter)
	}
}

// STARTTLS after the greeting.
func ExampleProbe_starttls() {
	p := probe.Probe{StartTLS: probe.SMTP}
	r := p.Do(context.Background(), probe.Target{Host: "mail.example", Port: 25})
	fmt.Println(r.Status, r.TLS)
}

// Wait until a service is ready, as in a test or in ExecStartPost=.
func ExampleProbe_Wait() {
	target, stop := greeter("hello\n")
	defer stop()

	var p probe.Probe
	r := p.Wait(context.Background(), target, 30*time.Second, func(r probe.Result) {
		fmt.Println("not ready yet:", r.Err)
	})
	fmt.Println(r.Status)
	// Output: ok
}

// Many targets in parallel, as many at once as there are file descriptors.
func ExampleMany() {
	target, stop := greeter("hello\n")
	defer stop()

	var p probe.Probe
	many := probe.Many{Do: p.DoAll, Parallel: 100}
	counts := map[probe.Status]int{}
	many.Run(context.Background(), slices.Values([]probe.Target{target, target, target}), func(r probe.Result) {
		counts[r.Status]++
	})
	fmt.Println(counts)
	// Output: map[ok:3]
}

// A Result is JSON for others, and can be read back.
func ExampleResult_UnmarshalJSON() {
	target, stop := greeter("hello\n")
	defer stop()

	text, err := json.Marshal(new(probe.Probe).Do(context.Background(), target))
	if err != nil {
		panic(err)
	}
	var r probe.Result
	if err := json.Unmarshal(text, &r); err != nil {
		panic(err)
	}
	fmt.Println(r.Status, r.Greeting.End, r.Timing.Total > 0)
	// Output: ok line true
}

// A bad Probe is an error that names field, reason and remedy.
func ExampleProbe_Validate() {
	p := probe.Probe{Family: 5}
	fmt.Println(p.Validate())
	// Output: Probe.Family is 5, which is no IP version; use 4 or 6, or 0 for both
}
