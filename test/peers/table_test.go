package peers

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"greetd.example/internal/test/debian"
)

// manual has the table of who says what of these servers.
const manual = "../../docs/check.md"

// columns are the programs of the manual's table; the plugin differs by row.
const columns = "| server | plugin | check_tcp | openssl s_client | check_greet |"

var states = []string{"OK", "WARNING", "CRITICAL", "UNKNOWN"}

// rows returns the cells of the manual's table.
func rows() (rows [][]string, err error) {
	text, err := os.ReadFile(manual)
	if err != nil {
		return nil, err
	}
	_, table, found := strings.Cut(string(text), columns+"\n")
	if !found {
		return nil, fmt.Errorf("%s has no table %s", manual, columns)
	}
	for line := range strings.Lines(table) {
		line, isRow := strings.CutPrefix(strings.TrimSpace(line), "| ")
		if isRow {
			rows = append(rows, strings.Split(strings.TrimSuffix(line, " |"), " | "))
		} else if line == "" {
			break
		}
	}
	return rows, nil
}

// compare asks the plugin of a row of the manual's table, check_tcp, openssl and greetprobe
// about the server at address, a port or
// HOST:PORT, which is in the state that the row begins with. A cell has the
// state that the program ends with, and a part of what it prints. starttls is the protocol
// for openssl, if it has it; args are for greetprobe.
func compare(t *testing.T, name, address, starttls string, args ...string) {
	t.Helper()
	table, err := rows()
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(table, func(cells []string) bool { return cells[0] == name })
	if at < 0 || len(table[at]) != 5 {
		t.Fatalf("%s has no row %q with 5 cells", manual, name)
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		host, port = "127.0.0.1", address
	}
	const plugins = "/usr/lib/nagios/plugins"
	debian.Program(t, filepath.Join(plugins, "check_ssh"), "monitoring-plugins-basic")
	plugin, cell, _ := strings.Cut(table[at][1], " ")
	plugin = strings.Trim(plugin, "`")
	openssl := []string{"openssl", "s_client", "-connect", net.JoinHostPort(host, port)}
	if starttls != "" {
		openssl = append(openssl, "-starttls", starttls)
	}
	for i, row := range []struct {
		cell    string
		command []string
	}{
		{cell, []string{filepath.Join(plugins, plugin), "-t", "2", "-p", port, "-H", host}},
		{table[at][2], []string{filepath.Join(plugins, "check_tcp"), "-t", "2", "-p", port, "-H", host}},
		{table[at][3], openssl},
		{table[at][4], append([]string{greetprobe, "check", "-t", "2", "-p", port, "-H", host}, args...)},
	} {
		want, words, _ := strings.Cut(row.cell, ": ")
		got, said := ask(t, row.command)
		if i == 2 { // openssl has no states
			got = map[string]string{states[0]: "0", states[1]: "1", "-1": "hangs"}[got]
		}
		if got != want || !strings.Contains(said, strings.Trim(words, "`")) {
			t.Errorf("%s: %s is %s, and says %q; the manual has %q", name, filepath.Base(row.command[0]), got, said, row.cell)
		}
	}
	t.Logf("compared: %s", name)
}

// ask runs a program that has no input, and returns the state that its exit status is.
func ask(t *testing.T, command []string) (state, said string) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 3*time.Second)
	defer stop()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	out, err := cmd.CombinedOutput()
	if _, failed := errors.AsType[*exec.ExitError](err); err != nil && !failed {
		t.Fatal(err)
	}
	code := cmd.ProcessState.ExitCode()
	if code < 0 || code >= len(states) {
		return strconv.Itoa(code), string(out)
	}
	return states[code], string(out)
}

// compared are the rows of the manual that tests have compared.
var compared comparisons

type comparisons struct {
	mu    sync.Mutex
	names []string
}

var comparedRow = regexp.MustCompile(`(?m)compared: (.*)$`)

// add remembers the rows that the output of a test names.
func (c *comparisons) add(output string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, found := range comparedRow.FindAllStringSubmatch(output, -1) {
		c.names = append(c.names, found[1])
	}
}

// check returns an error for each row of the manual that no test has compared, if all
// tests have run.
func (c *comparisons) check() error {
	if os.Getenv("CI") != "true" || os.Getenv(inNamespace) != "" || flag.Lookup("test.run").Value.String() != "" {
		return nil // or some were skipped
	}
	table, err := rows()
	for _, cells := range table {
		if !slices.Contains(c.names, cells[0]) {
			err = errors.Join(err, fmt.Errorf("%s: no test compares %q", manual, cells[0]))
		}
	}
	return err
}
