// Package manpage reads manual pages, for tests that hold them against the code.
package manpage

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A Page is the source of a manual page (mdoc(7)), with its escapes undone.
type Page []string

// Read returns the page called name, such as greetd.8, from docs at the top of the
// repository; tests run in the directory of their package.
func Read(tb testing.TB, name string) Page {
	tb.Helper()
	for _, up := range []string{"", "..", "../..", "../../.."} {
		text, err := os.ReadFile(filepath.Join(up, "docs", name))
		if err == nil {
			return strings.Split(plain.Replace(string(text)), "\n")
		}
	}
	tb.Fatalf("no manual page docs/%s from here", name)
	return nil
}

// plain also joins lines that end in a backslash.
var plain = strings.NewReplacer("\\\n", "", `\-`, "-", `\e`, `\`, `\(dq`, `"`, `\&`, "")

// Section returns what stands between the heading, of a section or a subsection, and
// the next one.
func (p Page) Section(tb testing.TB, heading string) Page {
	tb.Helper()
	begin := slices.IndexFunc(p, func(line string) bool { return line == ".Sh "+heading || line == ".Ss "+heading })
	if begin < 0 {
		tb.Fatalf("the manual page has no section %s", heading)
	}
	section := p[begin+1:]
	if end := slices.IndexFunc(section, isHeading); end >= 0 {
		section = section[:end]
	}
	return section
}

func isHeading(line string) bool {
	return strings.HasPrefix(line, ".Sh ") || strings.HasPrefix(line, ".Ss ")
}

// Words returns what stands behind each macro that is called so, at the beginning of a
// line or as its first argument, up to the next macro: the words of ".Li ok , error" and
// ".It Li ok" for Li. Commas are no words.
func (p Page) Words(macro string) []string {
	var words []string
	for _, line := range p {
		line = strings.TrimPrefix(strings.TrimPrefix(line, "."), "It ")
		rest, ok := strings.CutPrefix(strings.TrimPrefix(line, "Pq "), macro+" ")
		if !ok {
			continue
		}
		for word := range strings.FieldsSeq(rest) {
			if isMacro(word) && word != macro {
				break
			}
			if word != macro && word != "," && word != ":" && word != ";" && word != "." {
				words = append(words, word)
			}
		}
	}
	return words
}

// isMacro knows those that the pages have in the middle of a line.
func isMacro(word string) bool {
	return slices.Contains([]string{"Ar", "Fl", "Li", "Ns", "No", "Op", "Pq", "Ta", "Cm"}, word)
}

// Same reports what is in one of two lists only, as errors that begin with what.
func Same(tb testing.TB, what string, page, code []string) {
	tb.Helper()
	for _, word := range code {
		if !slices.Contains(page, word) {
			tb.Errorf("%s: the manual page lacks %s", what, word)
		}
	}
	for _, word := range page {
		if !slices.Contains(code, word) {
			tb.Errorf("%s: the manual page has %s, which does not exist", what, word)
		}
	}
}
