package main

import (
	"testing"

	"greetd.example/internal/debtest"
)

// TestClients holds greetd against programs that others have written.
func TestClients(t *testing.T) {
	for name, pkg := range map[string]string{"openssl": "openssl", "stunnel": "stunnel4", "haproxy": "haproxy"} {
		debtest.Program(t, name, pkg)
	}
	runScripts(t, "testdata/clients")
}
