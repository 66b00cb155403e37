// Package grafana_test looks at the dashboard as far as that goes without Grafana. That
// each of its queries has an answer, test/e2e asks a Prometheus.
package grafana_test

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

type datasource struct{ Type, UID string }

type place struct{ X, Y, W, H int }

func (p place) overlaps(q place) bool {
	return p.X < q.X+q.W && q.X < p.X+p.W && p.Y < q.Y+q.H && q.Y < p.Y+p.H
}

type panel struct {
	ID                       int
	Type, Title, Description string
	GridPos                  place
	Datasource               datasource
	Targets                  []struct {
		RefID, Expr, LegendFormat string
		Datasource                datasource
	}
	FieldConfig struct {
		Defaults struct{ Unit string }
	}
}

type dashboard struct {
	UID, Title    string
	SchemaVersion int
	Panels        []panel
	Annotations   struct {
		List []struct {
			Name, Expr string
			Datasource datasource
		}
	}
	Templating struct {
		List []struct {
			Name, Type, Definition string
			Query                  any
			Datasource             datasource
		}
	}
}

// types are those of Grafana's own panels that are here, and units its names of units.
var (
	types = []string{"row", "stat", "timeseries", "heatmap", "table", "bargauge", "state-timeline"}
	units = []string{"", "none", "short", "percentunit", "reqps", "cps", "s", "bytes", "Bps"}
)

func load(t *testing.T) (d dashboard) {
	t.Helper()
	text, err := os.ReadFile("greetd.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	if d.UID == "" || d.Title == "" || d.SchemaVersion < 36 || len(d.Panels) < 20 {
		t.Fatalf("this is no dashboard: uid %q, title %q, schema %d, %d panels", d.UID, d.Title, d.SchemaVersion, len(d.Panels))
	}
	return d
}

// chosen is the data source that is chosen at the top.
var chosen = datasource{"prometheus", "${datasource}"}

func TestPanels(t *testing.T) {
	d := load(t)
	ids := make(map[int]string)
	for i, p := range d.Panels {
		name := fmt.Sprintf("panel %d, %q", p.ID, p.Title)
		if ids[p.ID] != "" {
			t.Errorf("%s has the id of %q", name, ids[p.ID])
		}
		ids[p.ID] = p.Title
		if p.ID <= 0 || p.Title == "" || !slices.Contains(types, p.Type) || !slices.Contains(units, p.FieldConfig.Defaults.Unit) {
			t.Errorf("%s: type %q, unit %q", name, p.Type, p.FieldConfig.Defaults.Unit)
		}
		if g := p.GridPos; g.X < 0 || g.Y < 0 || g.W <= 0 || g.H <= 0 || g.X+g.W > 24 {
			t.Errorf("%s is at %+v", name, g)
		}
		for _, other := range d.Panels[:i] {
			if p.GridPos.overlaps(other.GridPos) {
				t.Errorf("%s covers %q", name, other.Title)
			}
		}
		if p.Type == "row" {
			continue
		}
		if p.Description == "" || p.Datasource != chosen || len(p.Targets) == 0 {
			t.Errorf("%s: description %q, data source %v, %d queries", name, p.Description, p.Datasource, len(p.Targets))
		}
		refs := make(map[string]bool)
		for _, target := range p.Targets {
			if target.Expr == "" || target.Datasource != chosen || target.RefID == "" || refs[target.RefID] {
				t.Errorf("%s: query %+v", name, target)
			}
			refs[target.RefID] = true
		}
	}
}

var variable = regexp.MustCompile(`\$\{?(\w+)`)

func TestVariables(t *testing.T) {
	d := load(t)
	known := []string{"__rate_interval"}
	used := make(map[string]bool)
	use := func(where, text string) {
		for _, v := range variable.FindAllStringSubmatch(text, -1) {
			used[v[1]] = true
			if !slices.Contains(known, v[1]) {
				t.Errorf("%s uses $%s, which is not there", where, v[1])
			}
		}
	}
	for _, v := range d.Templating.List { // each can use those before it
		if v.Type == "query" {
			use("$"+v.Name, v.Definition+v.Datasource.UID)
			if query, ok := v.Query.(map[string]any); !ok || query["query"] != v.Definition || v.Datasource != chosen {
				t.Errorf("$%s: query %v, definition %q, data source %v", v.Name, v.Query, v.Definition, v.Datasource)
			}
		}
		known = append(known, v.Name)
	}
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			use(p.Title, target.Expr)
		}
	}
	for _, a := range d.Annotations.List {
		use(a.Name, a.Expr)
		if a.Datasource != chosen {
			t.Errorf("annotation %s: data source %v", a.Name, a.Datasource)
		}
	}
	for _, name := range known {
		if !used[name] {
			t.Errorf("nothing uses $%s", name)
		}
	}
}

// The listeners that are chosen count in each panel: by the label where a metric has it, and else by
// the instances that have such a listener. greetprobe knows targets, and no listeners.
func TestListenersCountInEachPanel(t *testing.T) {
	d := load(t)
	check := func(where, expr string) {
		if !strings.Contains(expr, `listener=~"$listener`) && !strings.Contains(expr, "greetprobe_") {
			t.Errorf("%s: $listener does not count in %s", where, expr)
		}
	}
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			check(p.Title, target.Expr)
		}
	}
	for _, a := range d.Annotations.List {
		check(a.Name, a.Expr)
	}
}

// TestLegends finds labels that a legend needs, and its query has summed up.
func TestLegends(t *testing.T) {
	for _, p := range load(t).Panels {
		for _, target := range p.Targets {
			kept := regexp.MustCompile(`\bby \(([^)]*)\)`).FindStringSubmatch(target.Expr)
			for _, label := range regexp.MustCompile(`\{\{(\w+)\}\}`).FindAllStringSubmatch(target.LegendFormat, -1) {
				if kept != nil && !slices.Contains(strings.Split(kept[1], ", "), label[1]) {
					t.Errorf("%s: the legend %q of %s", p.Title, target.LegendFormat, target.Expr)
				}
			}
		}
	}
}
