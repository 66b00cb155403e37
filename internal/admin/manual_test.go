package admin

import (
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"greetd.example/internal/test/manpage"
)

// TestManualKnowsEachPath holds greetd(8) against what can be asked over HTTP.
func TestManualKnowsEachPath(t *testing.T) {
	s := New(Daemon{Metrics: http.NotFoundHandler()})
	var paths, page []string
	for _, path := range s.paths {
		method := "POST "
		if slices.Contains(s.reading, path) {
			method = "GET "
		}
		paths = append(paths, method+path)
	}
	for _, line := range manpage.Read(t, "greetd.8").Section(t, "ADMIN") {
		if words := strings.TrimPrefix(line, ".It Li "); strings.HasPrefix(words, "GET ") || strings.HasPrefix(words, "POST ") {
			page = append(page, words)
		}
	}
	manpage.Same(t, "paths", page, paths)
}

// TestManualKnowsEachKey holds greetd(8) against the JSON of a status.
func TestManualKnowsEachKey(t *testing.T) {
	var page []string
	for _, word := range manpage.Read(t, "greetd.8").Section(t, "ADMIN").Words("Li") {
		if word == "GET" || word == "POST" || strings.HasPrefix(word, "/") || strings.HasPrefix(word, "greetd_") {
			continue
		}
		page = append(page, word)
	}
	manpage.Same(t, "keys of the status", page, jsonKeys(reflect.TypeFor[Status]()))
}

// jsonKeys returns the keys of a struct and of the structs in it.
func jsonKeys(of reflect.Type) (names []string) {
	for of.Kind() == reflect.Pointer || of.Kind() == reflect.Slice {
		of = of.Elem()
	}
	if of.Kind() != reflect.Struct || of == reflect.TypeFor[time.Time]() {
		return nil
	}
	for field := range of.Fields() {
		if !field.IsExported() {
			continue
		}
		names = append(names, field.Tag.Get("json"))
		names = append(names, jsonKeys(field.Type)...)
	}
	return names
}
