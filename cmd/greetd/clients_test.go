package main

import (
	"testing"

	"greetd.example/internal/test/debian"
)

// TestClients holds greetd against programs that others have written.
func TestClients(t *testing.T) {
	for name, pkg := range map[string]string{"openssl": "openssl", "stunnel": "stunnel4", "haproxy": "haproxy"} {
		debian.Program(t, name, pkg)
	}
	runScripts(t, "testdata/clients")
}
