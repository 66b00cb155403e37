package main

import (
	"slices"
	"testing"
)

func TestFaults(t *testing.T) {
	text := []byte(`package p

func f(n int) (bool, error) {
	mu.Lock()
	defer mu.Unlock()
	if n > 8 && ok(n) {
		return false, errTooMany
	}
	n++
	last = n
	return ok(n), nil
}
`)
	want := []string{
		"4: mu.Lock() -> {}",
		"5: defer mu.Unlock() -> {}",
		"6: if n > 8 && ok(n) { -> if false && (n > 8 && ok(n)) {",
		"6: if n > 8 && ok(n) { -> if true || (n > 8 && ok(n)) {",
		"6: if n > 8 && ok(n) { -> if n >= 8 && ok(n) {",
		"6: if n > 8 && ok(n) { -> if n <= 8 && ok(n) {",
		"6: if n > 8 && ok(n) { -> if n > 9 && ok(n) {",
		"6: if n > 8 && ok(n) { -> if n > 8 || ok(n) {",
		"6: if n > 8 && ok(n) { -> if n > 8 && !(ok(n)) {",
		"7: return false, errTooMany -> return true, errTooMany",
		"7: return false, errTooMany -> return false, nil",
		"9: n++ -> {}",
		"9: n++ -> n--",
		"10: last = n -> {}",
		"11: return ok(n), nil -> return !(ok(n)), nil",
	}
	faults, err := faultsOf("p.go", text)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range faults {
		got = append(got, f.describe(text))
	}
	if slices.Sort(got); !slices.Equal(got, slices.Sorted(slices.Values(want))) {
		t.Errorf("faults:\n%q\nwant:\n%q", got, want)
	}
}
