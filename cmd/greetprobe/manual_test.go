package main

import (
	"os"
	"reflect"
	"strings"
	"testing"
)

// The manuals explain every key of the JSON.
func TestManualsKnowEveryKey(t *testing.T) {
	for file, schema := range map[string]any{
		"ping.md": pingSummary{},
		"load.md": loadReport{},
	} {
		text, err := os.ReadFile("../../docs/" + file)
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range keys(reflect.TypeOf(schema)) {
			if !strings.Contains(string(text), "`"+key+"`") {
				t.Errorf("docs/%s does not explain %s", file, key)
			}
		}
	}
}

// keys returns the JSON keys of a struct and of the structs in it.
func keys(of reflect.Type) (names []string) {
	if of.Kind() == reflect.Pointer {
		of = of.Elem()
	}
	if of.Kind() != reflect.Struct {
		return nil
	}
	for field := range of.Fields() {
		names = append(names, field.Tag.Get("json"))
		names = append(names, keys(field.Type)...)
	}
	return names
}
