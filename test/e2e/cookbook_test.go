package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A recipe is a command of a document, and the lines that stand below it.
type recipe struct {
	command string
	prints  []string
}

// recipes returns those of the indented blocks, where a command begins with a dollar and
// goes on as long as a quote is open, or after a pipe.
func recipes(t *testing.T, path string) (all []recipe) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		line, indented := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "    ")
		if !indented {
			continue
		}
		command, begins := strings.CutPrefix(line, "$ ")
		if begins {
			all = append(all, recipe{command: command})
			continue
		}
		if len(all) == 0 {
			t.Fatalf("%s: %q belongs to no command", path, line)
		}
		last := &all[len(all)-1]
		if strings.Count(last.command, "'")%2 == 1 || strings.HasSuffix(last.command, "|") {
			last.command += "\n" + line
		} else {
			last.prints = append(last.prints, line)
		}
	}
	return all
}

// What differs from day to day, and what it becomes.
var formRules = []struct {
	is      *regexp.Regexp
	becomes string
}{
	{regexp.MustCompile(`\[s=.*\]$`), "[CURSOR]"},
	{regexp.MustCompile(`\b(Mon|Tue|Wed|Thu|Fri|Sat|Sun)\b`), "DAY"},
	{regexp.MustCompile(`\b(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)\b`), "MONTH"},
	{regexp.MustCompile(`(\d\d:\d\d:\d\d(?: UTC)?) \S+ (\w+)(\[\d+\])?:`), "$1 HOST $2:"},
	{regexp.MustCompile(`\d+(\.\d+)? (us|ms|s)\b`), "TIME"},
	{regexp.MustCompile(`\b\d+(\.\d+)?[BKMG]\b`), "SIZE"},
	{regexp.MustCompile(`\b[0-9a-f]{32}\b`), "ID"},
	{regexp.MustCompile(`\d+`), "0"},
	{regexp.MustCompile(`\s+`), " "},
}

// form returns what stays of a line.
func form(line string) string {
	line = strings.TrimSuffix(line, "\n")
	for _, rule := range formRules {
		line = rule.is.ReplaceAllString(line, rule.becomes)
	}
	return strings.TrimSpace(line)
}

const more = "…" // stands for further lines

// lacks returns the lines that an output should have and has not, and those that it has
// and should not have. Only their form counts.
func (r recipe) lacks(output string) (missing, strange []string) {
	var want, got []string
	for _, line := range r.prints {
		want = append(want, form(line))
	}
	for line := range strings.Lines(output) {
		got = append(got, form(line))
		if !slices.Contains(want, form(line)) && !slices.Contains(want, more) {
			strange = append(strange, line)
		}
	}
	for i, line := range want {
		if line != more && !slices.Contains(got, line) {
			missing = append(missing, r.prints[i])
		}
	}
	return missing, strange
}

// follow runs a command that does not end until it has printed what it should.
func (m *machine) follow(r recipe) (output string) {
	m.Helper()
	command := m.command("timeout", fmt.Sprint(waitLimit.Seconds()), "sh", "-c", r.command)
	out, err := command.StdoutPipe()
	if err != nil {
		m.Fatal(err)
	}
	if err := command.Start(); err != nil {
		m.Fatal(err)
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		output += lines.Text() + "\n"
		if missing, _ := r.lacks(output); len(missing) == 0 {
			break
		}
	}
	_ = command.Process.Kill()
	_ = command.Wait()
	return output
}

// outcomes returns how many visits ended how, as the daemon itself says.
func (m *machine) outcomes() (all map[string]int) {
	m.Helper()
	var status struct{ Outcomes map[string]int }
	if err := json.Unmarshal([]byte(m.run("greetd", "status", "--json")), &status); err != nil {
		m.Fatal(err)
	}
	return status.Outcomes
}

// TestJournalCookbook runs every command of docs/journalctl.md after visits of all kinds.
func TestJournalCookbook(t *testing.T) {
	all := recipes(t, "../../docs/journalctl.md")
	if len(all) < 15 {
		t.Fatalf("only %d commands were found", len(all))
	}
	counts := slices.IndexFunc(all, func(r recipe) bool { return strings.Contains(r.command, "SUPPRESSED_") })
	if counts < 0 {
		t.Fatal("no command counts the visits of summaries, too")
	}
	onEachSystemd(t, func(m *machine) {
		m.run("journalctl", "--update-catalog")
		m.town()
		m.configure(visitSettings)
		m.run("systemctl", "start", "greetd")
		m.visitors()
		m.run("systemctl", "restart", "greetd")
		m.visitors()
		m.configure("greeting: '{{.Nobody}}'")
		_, _ = m.try("systemctl", "reload", "greetd")
		m.configure(visitSettings)
		m.run("systemctl", "reload", "greetd")

		// Entries and summaries account for every visit.
		want := m.outcomes()
		m.eventually("the journal has what greetd status says", func() bool {
			m.run("journalctl", "--sync")
			var got map[string]int
			_ = json.Unmarshal([]byte(m.run("sh", "-c", all[counts].command)), &got)
			if len(got) != len(want) {
				return false
			}
			for outcome, n := range want {
				if got[outcome] != n {
					return false
				}
			}
			return true
		})
		for _, r := range all {
			var output string
			code := 0
			if strings.Contains(r.command, " -f") {
				output = m.follow(r)
			} else {
				output, code = m.try("sh", "-c", r.command)
			}
			missing, strange := r.lacks(output)
			if len(missing)+len(strange) > 0 || code != 0 || len(r.prints) == 0 || r.prints[0] == more {
				m.Errorf("$ %s\nexit %d, lacks %q and should not have %q:\n%s", r.command, code, missing, strange, output)
			}
		}
		m.ordinaryDay()
	})
}
