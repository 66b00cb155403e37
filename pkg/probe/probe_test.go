package probe_test

import (
	"encoding/json"
	"net"
	"testing"

	"greetd.example/pkg/probe"
)

func TestDoOverTheKernel(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			c.Write([]byte("220-one\r\n220 two\r\nmore"))
			defer c.Close()
		}
	}()
	for _, s := range []string{ln.Addr().String(), "localhost:" + ln.Addr().String()[len("127.0.0.1:"):]} {
		target, err := probe.ParseTarget(s)
		if err != nil {
			t.Fatal(err)
		}
		r := new(probe.Probe).Do(t.Context(), target)
		if r.Status != probe.OK || string(r.Greeting.Bytes) != "220-one\r\n220 two\r\n" {
			text, err := json.Marshal(r)
			t.Errorf("%s: %s %v", s, text, err)
		}
		text, err := json.Marshal(r)
		t.Logf("%s: %s %v", s, text, err)
	}
}
