// Package metrics exports the counts of a daemon to Prometheus. The counts are those of the server, which are read at
// each scrape, so that metrics and status agree. Only the durations of visits are counted in this package.
//
// The series of a listener that a reload has removed remain until the daemon ends: its counts are part of the totals, and
// a total must never decrease. The number of series is bounded by the number of listener names that an operator has used.
package metrics

import (
	"net/http"
	"regexp"
	"runtime"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"

	"greetd.example/pkg/service"
)

// Sources has the values and functions for the metrics. The functions are called at each scrape, by any goroutine. None
// of them may be nil.
type Sources struct {
	Version      string    // of greetd
	Commit       string    // from which it was built; "" if unknown
	Started      time.Time // start of the process
	Listeners    func() []service.ListenerStats
	Limit        func() int                       // limit of connections that is in force; 0 for none
	LogDropped   func() uint64                    // number of log entries lost because the output was too slow
	Reloads      func() (applied, refused uint64) // numbers since the start
	ReloadFailed func() bool                      // whether the last reload was refused
	Generation   func() uint64                    // of the configuration in force
	Certificates func() map[string]time.Time      // when the certificate of each listener with TLS expires
}

// Metrics are the metrics of one daemon. As a [service.Observer], they count the durations of visits, without a lock and
// without allocating.
type Metrics struct {
	service.ObserverFuncs // Opened and AcceptFailed do nothing

	durations  *prometheus.HistogramVec
	byListener sync.Map // from the name of a listener to its timers
	listeners  func() []service.ListenerStats
	handler    func() http.Handler // made at the first scrape, so that the start does not wait for it
}

// timers are the histograms of the durations of a listener, by outcome.
type timers map[service.Outcome]prometheus.Histogram

// liveHeap returns the rule for the heap memory that the last garbage collection found in use. It shows a leak. The other
// memory metrics of the Go runtime do not, since they rise and fall between collections.
func liveHeap() collectors.GoRuntimeMetricsRule {
	return collectors.GoRuntimeMetricsRule{Matcher: regexp.MustCompile("^/gc/heap/live:bytes$")}
}

// buckets are the upper bounds of the durations of visits, in seconds. The first is 50 us, about the shortest visit over
// loopback. The last is 10 s, twice the default timeout of a greeting.
var buckets = []float64{
	50e-6, 100e-6, 250e-6, 500e-6,
	1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 250e-3, 500e-3,
	1, 2.5, 5, 10,
}

// New returns the metrics of the daemon with the sources s, of the Go runtime and of the process.
func New(s Sources) *Metrics {
	durations := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "greetd_visit_duration_seconds",
		Help:    "Time from accepting a client to the end of its visit, by listener and by how it ended; lingering is not part of it. The latency of greetings is that of outcome=\"greeted\".",
		Buckets: buckets,
	}, []string{"listener", "outcome"})
	return &Metrics{durations: durations, listeners: s.Listeners, handler: sync.OnceValue(func() http.Handler {
		registry := prometheus.NewRegistry()
		registry.MustRegister(
			reader(s),
			durations,
			collectors.NewGoCollector(collectors.WithGoCollectorRuntimeMetrics(liveHeap())),
			collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		)
		return promhttp.HandlerFor(registry, promhttp.HandlerOpts{EnableOpenMetrics: true})
	})}
}

// Handler returns a handler that answers scrapes in the format that the client prefers: the text format, OpenMetrics or
// protobuf, compressed if the client accepts it.
func (m *Metrics) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, l := range m.listeners() { // so that outcomes that have not occurred are 0, and not missing
			m.timers(l.Name)
		}
		m.handler().ServeHTTP(w, r)
	})
}

// Closed implements [service.Observer].
func (m *Metrics) Closed(v service.Visit) {
	m.timers(v.Listener)[v.Outcome].Observe(v.Took.Seconds())
}

func (m *Metrics) timers(listener string) timers {
	if known, ok := m.byListener.Load(listener); ok {
		return known.(timers)
	}
	made := make(timers)
	for _, o := range service.Outcomes() {
		made[o] = m.durations.WithLabelValues(listener, string(o)).(prometheus.Histogram)
	}
	m.byListener.Store(listener, made)
	return made
}

// Durations returns the greeted visits since the start, counted by their duration: counts[i] is the number of visits that
// took at most bounds[i], and the last element of counts is the number of all greeted visits.
func (m *Metrics) Durations() (bounds []time.Duration, counts []uint64) {
	counts = make([]uint64, len(buckets)+1)
	for _, b := range buckets {
		bounds = append(bounds, time.Duration(b*float64(time.Second)))
	}
	for _, known := range m.byListener.Range {
		var out dto.Metric
		if err := known.(timers)[service.Greeted].Write(&out); err != nil {
			panic(err) // can't happen
		}
		for i, b := range out.GetHistogram().GetBucket() {
			counts[i] += b.GetCumulativeCount()
		}
		counts[len(buckets)] += out.GetHistogram().GetSampleCount()
	}
	return bounds, counts
}

// reader is the collector of the counts of the server.
type reader Sources

var (
	visits = prometheus.NewDesc("greetd_visits_total",
		"Visits that have ended, by listener and by how they ended.", []string{"listener", "outcome"}, nil)
	notGreeted = prometheus.NewDesc("greetd_visits_not_greeted_total",
		"Visits that have ended without a greeting, by listener, by how they ended and by the reason.", []string{"listener", "outcome", "reason"}, nil)
	connections = prometheus.NewDesc("greetd_connections",
		"Open connections: active ones are being greeted, lingering ones were greeted and have not hung up yet.", []string{"listener", "state"}, nil)
	connectionsLimit = prometheus.NewDesc("greetd_connections_limit",
		"Maximum number of connections at once (limits.connections); 0 is no limit.", nil, nil)
	greetingBytes = prometheus.NewDesc("greetd_greeting_bytes_total",
		"Bytes of greetings that were handed to the kernel.", nil, nil)
	acceptErrors = prometheus.NewDesc("greetd_accept_errors_total",
		"Failed attempts to accept a client.", nil, nil)
	logDropped = prometheus.NewDesc("greetd_log_entries_dropped_total",
		"Log entries that were dropped because the output was too slow.", nil, nil)
	reloads = prometheus.NewDesc("greetd_reloads_total",
		"Reloads of the configuration, by result: success, or failure, which keeps the previous configuration.", []string{"result"}, nil)
	lastReload = prometheus.NewDesc("greetd_config_last_reload_successful",
		"1 if the last reload was successful, and before the first reload; 0 if it failed and the previous configuration is kept.", nil, nil)
	generation = prometheus.NewDesc("greetd_config_generation",
		"Number of the configuration in use: 1 at the start, and 1 more after each reload that succeeds.", nil, nil)
	certificateExpiry = prometheus.NewDesc("greetd_certificate_expiry_timestamp_seconds",
		"When the certificate that a listener serves expires, in seconds since 1970.", []string{"listener"}, nil)
	startTime = prometheus.NewDesc("greetd_start_time_seconds",
		"When greetd was started, in seconds since 1970. process_start_time_seconds is missing, because the unit hides the file that it is read from.", nil, nil)
	buildInfo = prometheus.NewDesc("greetd_build_info",
		"Always 1; the labels have the version, the commit and the Go version.", []string{"version", "revision", "goversion"}, nil)
)

// Describe implements [prometheus.Collector].
func (r reader) Describe(to chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{
		visits, notGreeted, connections, connectionsLimit, greetingBytes, acceptErrors, logDropped,
		reloads, lastReload, generation, certificateExpiry, startTime, buildInfo,
	} {
		to <- desc
	}
}

// Collect implements [prometheus.Collector].
func (r reader) Collect(to chan<- prometheus.Metric) {
	counter := func(desc *prometheus.Desc, n uint64, labels ...string) {
		to <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(n), labels...)
	}
	gauge := func(desc *prometheus.Desc, n float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, n, labels...)
	}

	var bytes, errors uint64
	for _, l := range r.Listeners() {
		for outcome, n := range l.Visits {
			counter(visits, n, l.Name, string(outcome))
		}
		for outcome, reasons := range l.Reasons {
			for reason, n := range reasons {
				counter(notGreeted, n, l.Name, string(outcome), string(reason))
			}
		}
		gauge(connections, float64(l.Active), l.Name, "active")
		gauge(connections, float64(l.Lingering), l.Name, "lingering")
		bytes += l.Bytes
		errors += l.AcceptErrors
	}
	gauge(connectionsLimit, float64(r.Limit()))
	counter(greetingBytes, bytes)
	counter(acceptErrors, errors)

	counter(logDropped, r.LogDropped())
	applied, refused := r.Reloads()
	counter(reloads, applied, "success")
	counter(reloads, refused, "failure")
	successful := 1.0
	if r.ReloadFailed() {
		successful = 0
	}
	gauge(lastReload, successful)
	gauge(generation, float64(r.Generation()))
	for listener, end := range r.Certificates() {
		gauge(certificateExpiry, float64(end.Unix()), listener)
	}
	gauge(startTime, float64(r.Started.UnixMilli())/1e3)
	gauge(buildInfo, 1, r.Version, r.Commit, runtime.Version())
}
