// Package docs_test holds the manual pages against the code.
package docs_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/token"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"greetd.example/internal/config"
	"greetd.example/internal/doctor"
	"greetd.example/internal/greeting"
	"greetd.example/internal/metrics"
	"greetd.example/internal/test/debian"
	"greetd.example/internal/test/manpage"
	"greetd.example/pkg/service"
)

// TestPagesAreWellFormed lets mandoc look for mistakes.
func TestPagesAreWellFormed(t *testing.T) {
	mandoc := debian.Program(t, "mandoc", "mandoc")
	pages, err := filepath.Glob("*.[158]")
	if err != nil || len(pages) != 3 {
		t.Fatalf("pages: %v, %v", pages, err)
	}
	out, _ := exec.CommandContext(t.Context(), mandoc, append([]string{"-T", "lint"}, pages...)...).Output()
	for line := range strings.Lines(string(out)) {
		// Which pages of others are installed is this machine's affair.
		if to := missing.FindStringSubmatch(line); to == nil {
			t.Error(line)
		} else if strings.HasPrefix(to[1], "greet") && !slices.Contains(pages, to[1]+"."+to[2]) {
			t.Error(line)
		}
	}
}

// TestPagesFitTheTerminal lets mandoc format the pages for 80 columns: it breaks no
// literal line.
func TestPagesFitTheTerminal(t *testing.T) {
	mandoc := debian.Program(t, "mandoc", "mandoc")
	for _, page := range []string{"greetd.8", "greetd.yaml.5", "greetprobe.1"} {
		out, err := exec.CommandContext(t.Context(), mandoc, "-T", "ascii", "-O", "width=80", page).Output()
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(overstruck.ReplaceAllString(string(out), "")) {
			if len(line) > 81 { // with its end
				t.Errorf("%s has %d columns: %s", page, len(line)-1, line)
			}
		}
	}
}

var (
	overstruck = regexp.MustCompile(".\x08") // bold and underlined, as a typewriter does it
	missing    = regexp.MustCompile(`referenced manual not found: Xr (\S+) (\d)`)
)

// keys puts the keys below value with their defaults into all, as they stand in YAML.
func keys(prefix string, value reflect.Value, all map[string]string) {
	switch v := value.Interface().(type) {
	case time.Duration:
		all[prefix] = v.String()
		return
	case string:
		all[prefix] = v
		return
	}
	switch value.Kind() {
	case reflect.Struct:
		for i := range value.NumField() {
			name := value.Type().Field(i).Tag.Get("mapstructure")
			keys(strings.TrimPrefix(prefix+"."+name, "."), value.Field(i), all)
		}
	case reflect.Slice:
		if value.Type().Elem().Kind() == reflect.Struct && value.Len() > 0 {
			keys(prefix+"[]", value.Index(0), all)
			return
		}
		all[prefix] = "[]"
	default:
		all[prefix] = fmt.Sprint(value)
	}
}

func defaults() map[string]string {
	all := map[string]string{}
	keys("", reflect.ValueOf(config.Default()), all)
	return all
}

var keyItem = regexp.MustCompile(`^\.It Va (\S+) : Li (.*)$`)

func TestConfigurationKeys(t *testing.T) {
	want, page := defaults(), map[string]string{}
	for _, line := range manpage.Read(t, "greetd.yaml.5") {
		if item := keyItem.FindStringSubmatch(line); item != nil {
			value := item[2]
			if text, err := strconv.Unquote(value); err == nil {
				value = text
			}
			page[item[1]] = value
		}
	}
	for key, value := range want {
		if got, ok := page[key]; !ok || got != value {
			t.Errorf("%s: the manual page has the default %q, want %q", key, got, value)
		}
	}
	for key := range page {
		if _, ok := want[key]; !ok {
			t.Errorf("%s is no key", key)
		}
	}
}

// TestKeysInText looks up what the pages mention besides.
func TestKeysInText(t *testing.T) {
	all := defaults()
	for _, name := range []string{"greetd.yaml.5", "greetd.8"} {
		for _, word := range manpage.Read(t, name).Words("Va") {
			known := false
			for key := range all {
				known = known || key == word || strings.HasPrefix(key, word+".") || strings.HasPrefix(key, word+"[") || strings.HasSuffix(key, "."+word)
			}
			if !known {
				t.Errorf("%s names %s, which is no key", name, word)
			}
		}
	}
}

// TestExampleOfConfiguration loads what greetd.yaml(5) shows.
func TestExampleOfConfiguration(t *testing.T) {
	text := strings.Join(manpage.Read(t, "greetd.yaml.5"), "\n")
	_, shown, _ := strings.Cut(text, "\n.Bd -literal -offset indent\n")
	shown, _, ok := strings.Cut(shown, ".Ed\n")
	if !ok {
		t.Fatal("the page shows no configuration")
	}
	file := filepath.Join(t.TempDir(), "greetd.yaml")
	if err := os.WriteFile(file, []byte(shown), 0o600); err != nil {
		t.Fatal(err)
	}
	loaded, err := config.Load(config.Source{Path: file})
	if err != nil || len(loaded.Listeners) != 2 {
		t.Errorf("%d listeners, %v in\n%s", len(loaded.Listeners), err, shown)
	}
}

var template = regexp.MustCompile(`\.[A-Z]\w+`)

func TestTemplateFields(t *testing.T) {
	_, err := greeting.Parse("{{.Nobody}}")
	_, known, ok := strings.Cut(fmt.Sprint(err), "the fields are")
	if !ok {
		t.Fatalf("the error %q does not tell the fields", err)
	}
	manpage.Same(t, "fields of the greeting",
		manpage.Read(t, "greetd.yaml.5").Section(t, "GREETING").Words("Li"),
		template.FindAllString(known, -1))
}

// literals returns the strings that are keys of log entries in the source: the first
// argument of F and of the add methods.
func literals(t *testing.T, directory string) []string {
	t.Helper()
	var found []string
	keep := func(e ast.Expr) {
		if lit, ok := e.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			text, _ := strconv.Unquote(lit.Value)
			found = append(found, text)
		}
	}
	manpage.Inspect(t, directory, func(n ast.Node) {
		call, ok := n.(*ast.CallExpr)
		if !ok || len(call.Args) != 2 {
			return
		}
		name := ""
		switch f := call.Fun.(type) {
		case *ast.SelectorExpr:
			name = f.Sel.Name
		case *ast.Ident:
			name = f.Name
		}
		if slices.Contains([]string{"F", "add", "addNumber", "addText", "addPresent", "addBool", "addAddr"}, name) {
			keep(call.Args[0])
		}
	})
	return found
}

func TestJournalFields(t *testing.T) {
	keys := append(literals(t, "../internal/logging"), literals(t, "../internal/daemon")...)
	if len(keys) < 20 {
		t.Fatalf("only %d keys were found in the source: %v", len(keys), keys)
	}
	for _, outcome := range service.Outcomes() {
		keys = append(keys, string(outcome), "suppressed_"+string(outcome), "dropped_"+string(outcome))
	}
	for i, key := range keys {
		keys[i] = "GREETD_" + strings.ToUpper(key)
	}
	manpage.Same(t, "journal fields", manpage.Read(t, "greetd.8").Section(t, "JOURNAL").Words("Ev"), keys)
}

func TestOutcomes(t *testing.T) {
	var outcomes []string
	for _, outcome := range service.Outcomes() {
		outcomes = append(outcomes, string(outcome))
	}
	manpage.Same(t, "outcomes", manpage.Read(t, "greetd.8").Section(t, "VISITS").Words("Li"), outcomes)
}

func TestReasons(t *testing.T) {
	page := manpage.Read(t, "greetd.8").Section(t, "VISITS")
	catalog, err := os.ReadFile("../deploy/systemd/greetd-tcp.catalog")
	if err != nil {
		t.Fatal(err)
	}
	can := map[service.Reason][]string{}
	for _, outcome := range service.Outcomes() {
		for _, reason := range outcome.Reasons() {
			can[reason] = append(can[reason], string(outcome))
		}
	}
	var reasons []string
	for reason, outcomes := range can {
		reasons = append(reasons, string(reason))
		if want := fmt.Sprintf(".It Cm %s Pq %s", reason, strings.Join(outcomes, ", ")); !slices.Contains(page, want) {
			t.Errorf("VISITS lacks %q", want)
		}
		if reason != service.ReasonPanic && reason != service.ReasonShutdown && !strings.Contains(string(catalog), string(reason)) {
			t.Errorf("the catalog says nothing of %s", reason)
		}
	}
	manpage.Same(t, "reasons", page.Words("Cm"), reasons)
}

var (
	series = regexp.MustCompile(`(?m)^(greetd_\w+?)(?:_bucket|_sum|_count)?(?:\{(.*)\})? `)
	label  = regexp.MustCompile(`(\w+)="`)
)

func TestMetrics(t *testing.T) {
	m := metrics.New(metrics.Sources{
		Listeners: func() []service.ListenerStats {
			return []service.ListenerStats{{Name: "greet", Visits: map[service.Outcome]uint64{service.Greeted: 1}, Reasons: map[service.Outcome]map[service.Reason]uint64{service.Refused: {service.ReasonDenied: 1}}}}
		},
		Limit:        func() int { return 0 },
		LogDropped:   func() uint64 { return 0 },
		Reloads:      func() (applied, refused uint64) { return 0, 0 },
		ReloadFailed: func() bool { return false },
		Generation:   func() uint64 { return 1 },
		Certificates: func() map[string]time.Time { return map[string]time.Time{"greet": {}} },
	})
	answer := httptest.NewRecorder()
	m.Handler().ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	labels := map[string][]string{}
	for _, s := range series.FindAllStringSubmatch(answer.Body.String(), -1) {
		names := []string{}
		for _, l := range label.FindAllStringSubmatch(s[2], -1) {
			if l[1] != "le" {
				names = append(names, l[1])
			}
		}
		slices.Sort(names)
		labels[s[1]] = names
	}
	want := []string{}
	for name, names := range labels {
		want = append(want, name+" "+strings.Join(names, ","))
	}
	page := []string{}
	for _, word := range manpage.Read(t, "greetd.8").Section(t, "ADMIN").Words("Li") {
		if !strings.HasPrefix(word, "greetd_") {
			continue
		}
		name, list, _ := strings.Cut(strings.TrimSuffix(word, "}"), "{")
		names := strings.Split(list, ",")
		slices.Sort(names)
		page = append(page, name+" "+strings.Join(names, ","))
	}
	manpage.Same(t, "metrics and their labels", page, want)
}

func TestChecksOfDoctor(t *testing.T) {
	text := strings.Join(manpage.Read(t, "greetd.8").Section(t, "DIAGNOSTICS"), " ")
	_, text, _ = strings.Cut(text, "looks at ")
	text, _, ok := strings.Cut(text, ", each with one of the results")
	if !ok {
		t.Fatal("the list of doctor's checks was not found")
	}
	report, err := json.Marshal(doctor.Examine(doctor.Facts{}))
	if err != nil {
		t.Fatal(err)
	}
	var checks []string
	for _, f := range regexp.MustCompile(`"check":"([^"]+)"`).FindAllSubmatch(bytes.TrimSpace(report), -1) {
		checks = append(checks, string(f[1]))
	}
	manpage.Same(t, "doctor's checks", strings.Fields(strings.NewReplacer(",", "", " and ", " ").Replace(text)), checks)
}
