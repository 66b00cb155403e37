package exporter

import (
	"html/template"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/prometheus/exporter-toolkit/web"

	"greetd.example/pkg/probe"
)

const maxRecent = 50 // probes are on the page

// recent has the last probes, for the page.
type recent struct {
	mu      sync.Mutex
	entries []entry // the latest last
}

type entry struct {
	Module string
	probe.Result
}

func (r *recent) add(e entry) {
	e.Greeting, e.Steps = nil, nil // they can be large
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.entries) == maxRecent {
		r.entries = slices.Delete(r.entries, 0, 1)
	}
	r.entries = append(r.entries, e)
}

// latestFirst returns a copy of the entries, the latest first.
func (r *recent) latestFirst() []entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := slices.Clone(r.entries)
	slices.Reverse(all)
	return all
}

// details is the template of the page below the form. It escapes the values.
var details = template.Must(template.New("details").Parse(`<h2>Modules</h2>
<ul>{{range .Names}}<li>{{.}}</li>{{end}}</ul>
<h2>The last probes</h2>
{{if .Recent}}<table>
<thead><tr><th scope="col">time</th><th scope="col">module</th><th scope="col">target</th><th scope="col">status</th><th scope="col">took</th><th scope="col">reason</th></tr></thead>
<tbody>{{range .Recent}}<tr><td>{{.Time.UTC.Format "2006-01-02 15:04:05Z"}}</td><td>{{.Module}}</td>
<td><a href="probe?debug=true&amp;module={{.Module}}&amp;target={{.Target.String}}">{{.Target.String}}</a></td>
<td class="{{if eq .Status "ok"}}ok{{else}}failed{{end}}">{{.Status}}</td><td>{{.Timing.Total}}</td><td>{{with .Err}}{{.Error}}{{end}}</td></tr>
{{end}}</tbody></table>{{else}}<p>There was none yet.</p>{{end}}`))

const detailsCSS = `table { border-collapse: collapse } th, td { text-align: left; padding: 0.2em 0.8em 0.2em 0; vertical-align: top }
.ok { color: #176617 } .failed { color: #a51d1d; font-weight: bold }`

func (e *Exporter) servePage(w http.ResponseWriter, r *http.Request) {
	var more strings.Builder
	err := details.Execute(&more, struct {
		Names  []string
		Recent []entry
	}{e.config.Load().names(), e.recent.latestFirst()})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	page, err := web.NewLandingPage(web.LandingConfig{
		Name: "greetprobe", Description: "Probes servers that speak first, for Prometheus", Version: e.Version,
		Profiling: "false", ExtraHTML: more.String(), ExtraCSS: detailsCSS, HeaderColor: "#2b5c8a",
		Links: []web.LandingLinks{{Address: "metrics", Text: "Metrics", Description: "of this exporter"}},
		Form: web.LandingForm{Action: "probe", Inputs: []web.LandingFormInput{
			{Label: "Target", Type: "text", Name: "target", Placeholder: "mail.example:25"},
			{Label: "Module", Type: "text", Name: "module", Value: DefaultModule},
			{Label: "Debug", Type: "text", Name: "debug", Value: "true"},
		}},
	})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	page.ServeHTTP(w, r)
}
