package admin

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"html/template"
	"net/http"
	"strconv"
	"strings"
	"sync"
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

// A page is parsed when it is first looked at.
type page struct {
	once     sync.Once
	template *template.Template
	policy   string
}

// pageData is what the template shows.
type pageData struct {
	Status

	Problems []Problem
	Paths    []string // for programs
	Style    template.HTML
	Script   template.HTML
}

func (p *page) parse() {
	p.template = template.Must(template.New("page").Funcs(template.FuncMap{
		"age":      age,
		"count":    count,
		"outcomes": service.Outcomes,
		"short":    func(s string) string { return s[:min(len(s), 12)] },
		"stamp":    func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
		"words":    func(o service.Outcome) string { return strings.ReplaceAll(string(o), "_", " ") },
	}).Parse(pageHTML))

	// What is not named here is forbidden. The icon is a data: URL.
	p.policy = "default-src 'none'; style-src " + hash(pageCSS) + "; script-src " + hash(pageJS) +
		"; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'" +
		"; require-trusted-types-for 'script'; trusted-types 'none'"
}

// hash names an inline script or style in a content security policy.
func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// count writes n with commas, as in 1,234,567.
func count(n any) string {
	var digits string
	switch n := n.(type) {
	case int:
		digits = strconv.Itoa(n)
	case uint64:
		digits = strconv.FormatUint(n, 10)
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

func (s *Server) tellPage(w http.ResponseWriter, _ *http.Request) {
	s.page.once.Do(s.page.parse)
	data := pageData{
		Status: s.daemon.Status(),
		Paths:  s.paths(http.MethodGet)[1:], // the page itself is the first
		Style:  template.HTML("<style>" + pageCSS + "</style>"),
		Script: template.HTML("<script>" + pageJS + "</script>"),
	}
	if s.daemon.Problems != nil {
		data.Problems = s.daemon.Problems()
	}
	var text bytes.Buffer
	if err := s.page.template.Execute(&text, data); err != nil {
		panic(err)
	}
	w.Header().Set("Content-Security-Policy", s.page.policy)
	w.Header().Set("Referrer-Policy", "no-referrer")
	answer(w, http.StatusOK, "text/html; charset=utf-8", text.Bytes())
}
