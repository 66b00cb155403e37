package main

import (
	"testing"

	"greetd.example/pkg/probe"
)

func TestExitCodes(t *testing.T) {
	want := map[probe.Status]int{
		"ok": 0, "resolve_failed": 2, "no_greeting": 2, "partial": 2, "refused": 3, "unreachable": 3, "connect_timeout": 3,
		"tls_failed": 4, "closed": 4, "reset": 4, "mismatch": 4, "rejected": 4, "local_error": 5, "canceled": 130, "invalid_target": 1, "refused_by_server": 4, "wrong_protocol": 4,
	}
	for _, status := range probe.Statuses() {
		if got := exitFor(status); got != want[status] {
			t.Errorf("%s exits with %d, want %d", status, got, want[status])
		}
		delete(want, status)
	}
	if len(want) > 0 {
		t.Errorf("Statuses lacks %v", want)
	}
}
