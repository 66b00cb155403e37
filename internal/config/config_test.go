package config_test

import (
	"net/netip"
	"slices"
	"testing"

	"greetd.example/internal/config"
)

func TestDifferences(t *testing.T) {
	before, after := config.Default(), config.Default()
	if got := before.Differences(after); got != nil {
		t.Errorf("two defaults differ in %q", got)
	}
	after.Greeting = "hi\n"
	after.Limits.PerSource.Rate = 3
	after.Access.Deny = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	after.Listeners[0].ReusePort = true
	want := []string{"listeners", "greeting", "limits.per_source.rate", "access.deny"}
	if got := before.Differences(after); !slices.Equal(got, want) {
		t.Errorf("differences = %q, want %q", got, want)
	}
}
