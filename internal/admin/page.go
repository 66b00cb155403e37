package admin

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"math"
	"net/http"
	"strings"
	"sync"
	"time"

	"greetd.example/internal/logging"
	"greetd.example/pkg/service"
)

// The page is one file for the browser, with its style and its script. The browser fetches nothing else
// except the history. Without JavaScript, the page is loaded again every few seconds.
var (
	//go:embed page.html
	pageHTML string
	//go:embed page.css
	pageCSS string
	//go:embed page.js
	pageJS string
)

// pagePolicy returns the content security policy of the page. Everything that it does not name is
// forbidden. The icon is a data: URL.
func pagePolicy() string {
	return "default-src 'none'; style-src " + hash(pageCSS) + "; script-src " + hash(pageJS) +
		"; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'" +
		"; require-trusted-types-for 'script'; trusted-types 'none'"
}

// hash returns the name of an inline script or style in a content security policy.
func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// A page has the data for page.html.
type page struct {
	Status

	Problems []logging.Problem
	Paths    []string
	CSS      template.CSS
	JS       template.JS
}

// parsedPage returns the template of the page. It is parsed at the first request, so that the start does
// not wait for it.
var parsedPage = sync.OnceValue(func() *template.Template {
	return template.Must(template.New("page").Funcs(template.FuncMap{
		"age":         age,
		"count":       count,
		"outcomes":    service.Outcomes,
		"colorClass":  func(c Color) string { return map[Color]string{Green: "good", Amber: "so-so", Red: "bad"}[c] },
		"percent":     percent,
		"stamp":       func(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") },
		"stateClass":  stateClass,
		"time":        inUTC,
		"certificate": func(c *Certificate) string { return c.Words(inUTC) },
		"words":       func(o service.Outcome) string { return strings.ReplaceAll(string(o), "_", " ") },
	}).Parse(pageHTML))
})

func inUTC(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

func stateClass(s ListenerState) string {
	switch s {
	case Listening:
		return "good"
	case Removed, Closed:
		return "gone"
	}
	return "bad"
}

// percent formats a share, rounded down, so that only a share of 1 is "100 %".
func percent(share *float64) string {
	if share == nil {
		return "none"
	}
	return fmt.Sprintf("%g %%", math.Floor(*share*1000)/10)
}

// count formats a whole number with commas, such as 1,234,567.
func count(n any) string {
	digits := fmt.Sprint(n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

func (s *Server) servePage(w http.ResponseWriter, _ *http.Request) {
	shown := page{
		Status: s.status(), Problems: s.daemon.Problems(),
		Paths: s.reading[1:], // the page itself is the first path
		CSS:   template.CSS(pageCSS), JS: template.JS(pageJS),
	}
	var text bytes.Buffer
	if err := parsedPage().Execute(&text, shown); err != nil {
		panic(err) // only if page.html uses something that page does not have
	}
	w.Header().Set("Content-Security-Policy", pagePolicy())
	w.Header().Set("Referrer-Policy", "no-referrer")
	write(w, http.StatusOK, "text/html; charset=utf-8", text.Bytes())
}
