package admin

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html"
	"net/http"
	"strconv"
	"strings"
	"time"

	"greetd.example/pkg/service"
)

// The page is one file for the browser: nothing else is fetched but itself and the
// history. Without JavaScript it loads itself again every few seconds.
var (
	//go:embed page.html
	pageHTML string
	//go:embed page.css
	pageCSS string
	//go:embed page.js
	pageJS string
)

// pagePolicy is the page's content security policy: what is not named here is forbidden.
// The icon is a data: URL.
func pagePolicy() string {
	return "default-src 'none'; style-src " + hash(pageCSS) + "; script-src " + hash(pageJS) +
		"; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'" +
		"; require-trusted-types-for 'script'; trusted-types 'none'"
}

// hash names an inline script or style in a content security policy.
func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// markup is HTML. Whatever is not, fill escapes.
type markup string

// fill puts arguments in the places of %s: each is shown as it is, be it a name with < in
// it. Within a tag, it must stand in quotation marks.
//
// html/template does that and more, but it calls methods by their names, for which the
// linker would have to keep all that there are.
func fill(form markup, args ...any) markup {
	for i, arg := range args {
		if _, ok := arg.(markup); !ok {
			args[i] = html.EscapeString(fmt.Sprint(arg))
		}
	}
	return markup(fmt.Sprintf(string(form), args...))
}

// each joins what one makes of all.
func each[T any](all []T, one func(T) markup) markup {
	var joined markup
	for _, it := range all {
		joined += one(it)
	}
	return joined
}

// either is yes or no.
func either(condition bool, yes, no markup) markup {
	if condition {
		return yes
	}
	return no
}

// count writes n with commas, as in 1,234,567.
func count[N int | uint64](n N) string {
	digits := strconv.FormatUint(uint64(n), 10)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

func words(o service.Outcome) string { return strings.ReplaceAll(string(o), "_", " ") }

func pageTime(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// marks are what stands in page.html for a status: between two braces, each of these names.
func marks(s Status, problems []Problem, paths []string) map[string]markup {
	on := either(s.Hostname != "", fill(" on %s", s.Hostname), "")
	return map[string]markup{
		"title":     fill("greetd%s: %s", on, s.State),
		"style":     "<style>" + markup(pageCSS) + "</style>",
		"head":      pageHead(s),
		"totals":    each(service.Outcomes(), func(o service.Outcome) markup { return total(o, s.Outcomes[o]) }),
		"active":    fill("%s", count(s.Connections.Active)),
		"lingering": fill("%s", count(s.Connections.Lingering)),
		"columns":   each(service.Outcomes(), func(o service.Outcome) markup { return fill(`<th scope="col" class="number">%s`, words(o)) }),
		"listeners": either(len(s.Listeners) > 0, each(s.Listeners, listenerRow), `
<tr><td colspan="12" class="quiet">none yet</td></tr>`),
		"problems": either(len(problems) > 0, "\n<ol>"+each(problems, problemItem)+"\n</ol>", `
<p class="quiet">None.</p>`),
		"facts":  facts(s),
		"paths":  each(paths, func(path string) markup { return fill(`<a href="%s">%s</a>`, path, path) }),
		"script": "<script>" + markup(pageJS) + "</script>",
	}
}

func pageHead(s Status) markup {
	return fill(`<h1>greetd%s</h1>
<p class="state %s" role="status">%s%s</p>
<p class="quiet">%s%s, process %s, up %s</p>`,
		either(s.Hostname != "", fill(" <small>on %s</small>", s.Hostname), ""),
		either(s.Ready, "good", "bad"), s.State, either(s.Ready, "", ", not ready"),
		s.Version, either(s.Commit != "", fill(" (%s)", s.Commit[:min(len(s.Commit), 12)]), ""), s.PID, age(s.UptimeSeconds))
}

func total(o service.Outcome, n uint64) markup {
	return fill(`
<div%s><b>%s</b> %s</div>`, either(n == 0, ` class="none"`, ""), count(n), words(o))
}

func listenerRow(l Listener) markup {
	state := map[ListenerState]markup{Listening: "good", Removed: "gone"}[l.State]
	row := fill(`
<tr><th scope="row">%s</th><td data-of="Address"><span class="address">%s</span></td><td data-of="Origin">%s</td><td data-of="State"><span class="state %s">%s</span></td>
<td class="number" data-of="Active">%s</td><td class="number" data-of="Lingering">%s</td>`,
		l.Name, l.Address, l.Origin, cmp.Or(state, "bad"), l.State, count(l.Active), count(l.Lingering))
	row += each(service.Outcomes(), func(o service.Outcome) markup {
		n := l.Outcomes[o]
		return fill(`<td class="number%s" data-of="%s">%s</td>`, either(n == 0, " none", ""), words(o), count(n))
	}) + "</tr>"
	if l.Trouble != "" {
		row += fill(`
<tr class="trouble"><td colspan="12">%s: %s</td></tr>`, l.Name, l.Trouble)
	}
	return row
}

func problemItem(p Problem) markup {
	return fill(`
<li><time datetime="%s">%s</time> <span class="state %s">%s</span> <span class="message">%s</span></li>`,
		p.At.UTC().Format("2006-01-02T15:04:05Z"), pageTime(p.At), either(p.Level == "error", "bad", "so-so"), p.Level, p.Message)
}

func facts(s Status) markup {
	var all markup
	fact := func(name string, value markup) { all += fill("\n<dt>%s<dd>%s", name, value) }
	c := s.Configuration
	fact("File", either(c.Path != "", fill(`<span class="address">%s</span>`, c.Path), "none, the defaults serve"))
	fact("Generation", fill("%s, loaded %s", c.Generation, pageTime(c.Loaded)))
	fact("Last reload", lastReload(c.LastReload))
	fact("Started", fill("%s", pageTime(s.Started)))
	lost := fill(`<span class="state bad">%s %s lost</span>`, count(s.Log.Dropped), either(s.Log.Dropped == 1, "entry", "entries"))
	fact("Log", fill("%s, level %s; %s visits only in summaries; %s",
		s.Log.Output, s.Log.Level, count(s.Log.Suppressed), either(s.Log.Dropped > 0, lost, "no entry lost")))
	limits := either(s.Limits.Connections != 0, fill("%s connections", count(s.Limits.Connections)), "no limit of connections")
	limits += either(s.Limits.PerSourceConnections != 0, fill("; %s from one source", count(s.Limits.PerSourceConnections)), "")
	limits += either(s.Limits.PerSourceRate != 0, fill("; %s a second from one source", s.Limits.PerSourceRate), "")
	limits += either(s.Limits.Descriptors != 0, fill("; %s open files", count(s.Limits.Descriptors)), "")
	fact("Limits", limits)
	fact("Greetings", fill("%s bytes sent", count(s.GreetingBytes)))
	return all
}

func lastReload(r *Reload) markup {
	switch {
	case r == nil:
		return "none"
	case r.OK:
		return fill("applied %s", pageTime(r.At))
	}
	return fill(`<span class="state bad">refused</span> %s, the one before serves on<pre>%s</pre>`, pageTime(r.At), r.Error)
}

// writePage puts what the marks stand for in their places.
func writePage(values map[string]markup) []byte {
	var text bytes.Buffer
	for i, part := range strings.Split(pageHTML, "{{") {
		if i > 0 {
			name, rest, _ := strings.Cut(part, "}}")
			text.WriteString(string(values[name]))
			part = rest
		}
		text.WriteString(part)
	}
	return text.Bytes()
}

func (s *Server) tellPage(w http.ResponseWriter, _ *http.Request) {
	var problems []Problem
	if s.daemon.Problems != nil {
		problems = s.daemon.Problems()
	}
	paths := s.paths(http.MethodGet)[1:] // the page itself is the first
	w.Header().Set("Content-Security-Policy", pagePolicy())
	w.Header().Set("Referrer-Policy", "no-referrer")
	answer(w, http.StatusOK, "text/html; charset=utf-8", writePage(marks(s.daemon.Status(), problems, paths)))
}
