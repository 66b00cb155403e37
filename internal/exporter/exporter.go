// Package exporter probes servers at each scrape of Prometheus, as blackbox_exporter does.
package exporter

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"greetd.example/pkg/probe"
)

// DefaultModule is the module of a request that names none.
const DefaultModule = "greeting"

// A Config is a configuration. It must not be changed while it is in use.
type Config struct {
	Modules map[string]*probe.Probe // each is valid
	Allow   Allow
}

// Options are fixed for the life of an Exporter.
type Options struct {
	Version       string
	MaxProbes     int           // maximum number of probes at once; further requests are answered with 503
	TimeoutOffset time.Duration // time from the end of a probe to the timeout of its scrape
}

// An Exporter answers HTTP requests. Many goroutines may call its methods at once.
type Exporter struct {
	Options
	config atomic.Pointer[Config]
	places chan struct{} // has one element for each probe in progress
	own    *ownMetrics
	recent recent
	mux    *http.ServeMux
}

// New returns an exporter with the configuration config.
func New(o Options, config *Config) *Exporter {
	e := &Exporter{Options: o, places: make(chan struct{}, o.MaxProbes), mux: http.NewServeMux()}
	e.own = newOwnMetrics(o.Version, func() int { return len(e.places) })
	e.Reloaded(config, nil)
	e.mux.HandleFunc("GET /{$}", e.servePage)
	e.mux.HandleFunc("GET /probe", e.serveProbe)
	e.mux.Handle("GET /metrics", e.own.handler)
	e.mux.HandleFunc("GET /-/healthy", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	return e
}

// Reloaded replaces the configuration, or, if err is not nil, counts a failed reload. Probes in progress keep their
// configuration.
func (e *Exporter) Reloaded(config *Config, err error) {
	e.own.reloaded(err == nil)
	if err == nil {
		e.config.Store(config)
	}
}

// ServeHTTP implements [http.Handler].
func (e *Exporter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	e.mux.ServeHTTP(w, r)
}

// A refusal is the answer to a request that is refused without a probe.
type refusal struct {
	code   int
	reason string // label of a metric, from a closed set
	text   string
}

// serveProbe probes one target. It answers with the metrics, even if the probe has failed.
func (e *Exporter) serveProbe(w http.ResponseWriter, r *http.Request) {
	result, refused := e.probe(r)
	if refused != nil {
		e.own.refused.WithLabelValues(refused.reason).Inc()
		if refused.code == http.StatusServiceUnavailable {
			w.Header().Set("Retry-After", "1")
		}
		http.Error(w, refused.text, refused.code)
		return
	}
	if debug, _ := strconv.ParseBool(r.FormValue("debug")); debug {
		writeDebug(w, result)
		return
	}
	WriteMetrics(w, r, result)
}

// WriteMetrics answers a request with the metrics of one probe.
func WriteMetrics(w http.ResponseWriter, r *http.Request, result probe.Result) {
	promhttp.HandlerFor(resultMetrics(result), promhttp.HandlerOpts{EnableOpenMetrics: true}).ServeHTTP(w, r)
}

// probe makes the probe that a request asks for, or returns the refusal.
func (e *Exporter) probe(r *http.Request) (result probe.Result, refused *refusal) {
	config := e.config.Load()
	name, p, refused := config.module(r)
	if refused != nil {
		return result, refused
	}
	target, refused := config.target(r)
	if refused != nil {
		return result, refused
	}
	limit, err := e.timeLimit(r.Header.Get("X-Prometheus-Scrape-Timeout-Seconds"))
	if err != nil {
		return result, &refusal{http.StatusBadRequest, "request", err.Error()}
	}
	select {
	case e.places <- struct{}{}:
		defer func() { <-e.places }()
	default:
		return result, &refusal{http.StatusServiceUnavailable, "busy", fmt.Sprintf("%d probes are under way, as many as --max-probes allows; try again later", e.MaxProbes)}
	}
	ctx := r.Context()
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, limit, fmt.Errorf("within %s, before the scrape times out", limit))
		defer cancel()
	}
	guarded, forbidden := config.Allow.guard(p, target)
	result = guarded.Do(ctx, target)
	if result.Status == probe.ResolveFailed && forbidden.Load() {
		return result, config.Allow.forbid(target)
	}
	e.own.probes.WithLabelValues(name, string(result.Status)).Inc()
	e.recent.add(entry{Module: name, Result: result})
	return result, nil
}

func (c *Config) module(r *http.Request) (string, *probe.Probe, *refusal) {
	name := cmp.Or(r.FormValue("module"), DefaultModule)
	p := c.Modules[name]
	if p == nil {
		return "", nil, &refusal{http.StatusBadRequest, "module", fmt.Sprintf("there is no module %q; use one of %s", name, strings.Join(c.names(), ", "))}
	}
	return name, p, nil
}

func (c *Config) names() []string { return slices.Sorted(maps.Keys(c.Modules)) }

// target returns the target of a request. It returns a refusal if the target may not be probed.
func (c *Config) target(r *http.Request) (probe.Target, *refusal) {
	text := r.FormValue("target")
	if text == "" {
		return probe.Target{}, &refusal{http.StatusBadRequest, "request", "there is no target; write /probe?target=HOST:PORT&module=" + DefaultModule}
	}
	target, err := probe.ParseTarget(text)
	if err != nil {
		return target, &refusal{http.StatusBadRequest, "request", "target " + err.Error()}
	}
	if !c.Allow.mayBe(target) {
		return target, c.Allow.forbid(target)
	}
	return target, nil
}

// timeLimit returns the maximum time of a probe for a scrape. header has the timeout of the scrape in seconds. 0 means
// that only the timeout of the module applies. If the timeout is not longer than the offset, half of it is used.
func (e *Exporter) timeLimit(header string) (time.Duration, error) {
	if header == "" {
		return 0, nil
	}
	seconds, err := strconv.ParseFloat(header, 64)
	if err != nil || math.IsNaN(seconds) || seconds <= 0 {
		return 0, fmt.Errorf("X-Prometheus-Scrape-Timeout-Seconds is %q, which is not a number of seconds above 0", header)
	}
	scrape := time.Duration(min(seconds, 86400) * float64(time.Second))
	if scrape <= e.TimeoutOffset {
		return max(scrape/2, 1), nil
	}
	return scrape - e.TimeoutOffset, nil
}

// writeDebug answers with the whole result as indented JSON, for people.
func writeDebug(w http.ResponseWriter, r probe.Result) {
	text, _ := json.MarshalIndent(r, "", "  ") // can't fail: r consists of strings and numbers
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_, _ = w.Write(append(text, '\n'))
}
