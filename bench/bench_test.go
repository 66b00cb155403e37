package main

import (
	"bytes"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"greetd.example/internal/test/debian"
)

// The benchmark runs itself again: in its namespaces, and as some of the servers.
func TestMain(m *testing.M) {
	if os.Getenv(inside) != "" {
		main()
	}
	os.Exit(m.Run())
}

// Each server greets each client with its own address, and each table is there. What the
// numbers are is not looked at: the machine may be busy.
func TestEveryComparisonCanBeMade(t *testing.T) {
	if os.Getuid() != 0 {
		debian.Lacking(t, "root, for a network namespace")
	}
	t.Chdir("..")
	if out, err := exec.Command("sh", "test/packages.sh", "bench").CombinedOutput(); err != nil || len(out) > 0 {
		debian.Lacking(t, "what it is compared with: %s, %v", out, err)
	}
	var out, problems bytes.Buffer
	if code := run(t.Context(), []string{"-rounds", "1", "-time", "200ms", "-clients", "500"}, &out, &problems); code != 0 {
		t.Fatalf("exit %d: %s\n%s", code, &problems, &out)
	}
	tables := strings.Split(out.String(), "\n## ")[1:]
	if want := len((&bench{scratch: t.TempDir()}).comparisons()) + 5; len(tables) != want { // the open loops have three each, and the last one is that of the goals
		t.Errorf("%d tables, want %d:\n%s", len(tables), want, &out)
	}
	good := regexp.MustCompile(`\| \d+\.\d\d \| 0 \|$`) // the last columns: p99.9, and how many got another greeting, or none
	for _, table := range tables[:len(tables)-2] {
		rows := strings.Split(strings.TrimSpace(table), "\n")[4:]
		if len(rows) < 2 {
			t.Errorf("there is nothing to compare:\n%s", table)
		}
		for _, row := range rows {
			if !good.MatchString(row) {
				t.Errorf("not everybody was greeted as is right: %s", row)
			}
		}
	}
	if memory := tables[len(tables)-2]; strings.Count(memory, "| greetd, ") != 4 {
		t.Errorf("the memory of some is missing:\n%s", memory)
	}
	if met := regexp.MustCompile(`\| (met|missed) \|\n`).FindAllString(tables[len(tables)-1], -1); len(met) != 10 {
		t.Errorf("%d goals, want 10:\n%s", len(met), tables[len(tables)-1])
	}
}
