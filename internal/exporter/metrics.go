package exporter

import (
	"hash/fnv"
	"net/http"
	"net/netip"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"greetd.example/pkg/probe"
)

// gauges are the metrics of one probe, in their own registry.
type gauges struct{ *prometheus.Registry }

// set adds one sample. labels are pairs of name and value; bytes that are not UTF-8 are replaced.
func (g gauges) set(name, help string, value float64, labels ...string) {
	fixed := make(prometheus.Labels)
	for i := 0; i+1 < len(labels); i += 2 {
		fixed[labels[i]] = strings.ToValidUTF8(labels[i+1], "\ufffd")
	}
	promauto.With(g).NewGauge(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: fixed}).Set(value)
}

// resultMetrics returns the metrics of r. If blackbox_exporter has the same metric, the name is the same.
func resultMetrics(r probe.Result) prometheus.Gatherer {
	g := gauges{prometheus.NewRegistry()}
	g.set("probe_success", "Whether the greeting came and was as expected.", number(r.Status == probe.OK))
	g.set("probe_duration_seconds", "How long the probe took.", r.Timing.Total.Seconds())
	g.set("probe_failed_due_to_regex", "Whether the server said something that was not expected, or that it must not.",
		number(r.Status == probe.Mismatch || r.Status == probe.Rejected))
	g.set("probe_status", "How the probe ended.", 1, "status", string(r.Status), "phase", string(r.Phase))
	g.phases(r.Timing)
	g.connection(r)
	g.greeting(r)
	g.certificate(r.TLS)
	return g
}

// phases adds the duration of each phase. Phases that were not completed are missing.
func (g gauges) phases(t probe.Timing) {
	lookup := 0.0
	if t.Resolve != nil {
		lookup = t.Resolve.Seconds()
	}
	g.set("probe_dns_lookup_time_seconds", "How long it took to resolve the name.", lookup)
	for _, phase := range []struct {
		name string
		took *time.Duration
	}{
		{"resolve", t.Resolve},
		{"connect", t.Connect},
		{"proxy", t.Proxy},
		{"tls", t.TLS},
		{"first_byte", t.FirstByte},
		{"greeting", t.Greeting},
	} {
		if phase.took != nil {
			g.set("probe_tcp_duration_seconds", "How long each phase took; those that were not completed are missing.",
				phase.took.Seconds(), "phase", phase.name)
		}
	}
}

// connection adds metrics of the address and of TCP.
func (g gauges) connection(r probe.Result) {
	addr := netip.Addr{}
	if remote, err := netip.ParseAddrPort(r.Remote); err == nil {
		addr = remote.Addr()
	} else if n := len(r.Attempts); n > 0 {
		addr = r.Attempts[n-1].Addr.Addr()
	}
	if addr = addr.Unmap().WithZone(""); addr.IsValid() {
		version := 6.0
		if addr.Is4() {
			version = 4
		}
		hash := fnv.New32a()
		hash.Write(addr.AsSlice())
		g.set("probe_ip_protocol", "The version of IP, 4 or 6.", version)
		g.set("probe_ip_addr_hash", "Hash of the address, which shows that it has changed.", float64(hash.Sum32()))
	}
	if r.TCP != nil {
		g.set("probe_tcp_rtt_seconds", "Smoothed round-trip time of the connection.", r.TCP.RTT.Seconds())
		g.set("probe_tcp_syn_retransmits", "SYNs that had to be sent again.", float64(r.TCP.SynRetrans))
	}
}

func (g gauges) greeting(r probe.Result) {
	if r.Greeting != nil {
		g.set("probe_greeting_bytes", "Size of the greeting.", float64(len(r.Greeting.Bytes)))
	}
	if r.Protocol != "" {
		g.set("probe_greeting_info", "The protocol of the greeting, and the software that it names.", 1,
			"protocol", string(r.Protocol), "software", r.Software, "version", r.Version)
	}
	if r.Refusal != nil {
		g.set("probe_refused_by_server", "The server's own code for its refusal, and whether it says that it is temporary.", 1,
			"protocol", string(r.Protocol), "code", r.Refusal.Code, "temporary", strconv.FormatBool(r.Refusal.Temporary))
	}
}

// certificate adds metrics of TLS and of the certificate, even if the handshake failed because of the certificate.
func (g gauges) certificate(t *probe.TLS) {
	if t == nil {
		return
	}
	g.set("probe_tls_verified", "Whether the server's certificate can be trusted.", number(t.Verified))
	if t.Version != "" {
		g.set("probe_tls_version_info", "The version of TLS.", 1, "version", t.Version)
	}
	if !t.NotAfter.IsZero() {
		g.set("probe_ssl_certificate_expiry", "When the server's own certificate expires, in seconds since 1970.", float64(t.NotAfter.Unix()))
	}
	if !t.ChainNotAfter.IsZero() {
		g.set("probe_ssl_earliest_cert_expiry", "When the first certificate of the server's chain expires, in seconds since 1970.", float64(t.ChainNotAfter.Unix()))
	}
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// ownMetrics are the metrics of the exporter itself.
type ownMetrics struct {
	handler http.Handler
	probes  *prometheus.CounterVec // by module and status
	refused *prometheus.CounterVec // by reason
	good    prometheus.Gauge       // whether the last reload succeeded
	since   prometheus.Gauge       // time of loading the configuration in force
}

func newOwnMetrics(version string, underWay func() int) *ownMetrics {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	own := promauto.With(registry)
	own.NewGauge(prometheus.GaugeOpts{
		Name: "greetprobe_build_info", Help: "The version of greetprobe and of Go.",
		ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version()},
	}).Set(1)
	own.NewGaugeFunc(prometheus.GaugeOpts{Name: "greetprobe_probes_in_flight", Help: "Probes under way."},
		func() float64 { return float64(underWay()) })
	m := &ownMetrics{
		handler: promhttp.HandlerFor(registry, promhttp.HandlerOpts{EnableOpenMetrics: true}),
		probes: own.NewCounterVec(prometheus.CounterOpts{
			Name: "greetprobe_probes_total", Help: "Probes that have ended, by module and status.",
		}, []string{"module", "status"}),
		refused: own.NewCounterVec(prometheus.CounterOpts{
			Name: "greetprobe_requests_refused_total", Help: "Requests that were answered without a probe: request (not understood), module (unknown), forbidden, busy.",
		}, []string{"reason"}),
		good: own.NewGauge(prometheus.GaugeOpts{
			Name: "greetprobe_config_last_reload_successful", Help: "Whether the last reload of the configuration succeeded.",
		}),
		since: own.NewGauge(prometheus.GaugeOpts{
			Name: "greetprobe_config_last_reload_success_timestamp_seconds", Help: "When the configuration in force was loaded, in seconds since 1970.",
		}),
	}
	for _, reason := range []string{"request", "module", "forbidden", "busy"} {
		m.refused.WithLabelValues(reason)
	}
	return m
}

func (m *ownMetrics) reloaded(ok bool) {
	m.good.Set(number(ok))
	if ok {
		m.since.SetToCurrentTime()
	}
}
