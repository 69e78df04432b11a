package authority

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/lanyardhq/lanyard/internal/authority/store"
	"github.com/lanyardhq/lanyard/internal/httpserve"
)

// metrics are the authority's own; every label has a small, fixed set of values.
type metrics struct {
	registry   *prometheus.Registry
	requests   *prometheus.CounterVec
	duration   *prometheus.HistogramVec
	tokens     prometheus.Counter
	enrolments prometheus.Counter
	refusals   *prometheus.CounterVec
	limited    *prometheus.CounterVec
	counted    prometheus.Counter
	dropped    *prometheus.CounterVec

	refusedConnections *prometheus.CounterVec
}

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lanyard_authority_requests_total", Help: "Requests by endpoint and status code.",
		}, []string{"endpoint", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "lanyard_authority_request_seconds", Help: "Time to answer, by endpoint.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 4, 8),
		}, []string{"endpoint"}),
		tokens: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "lanyard_authority_tokens_issued_total", Help: "ID tokens issued.",
		}),
		enrolments: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "lanyard_authority_enrolments_total", Help: "Workloads enrolled, repetitions not counted.",
		}),
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lanyard_authority_refusals_total", Help: "Refusals by what was asked for.",
		}, []string{"kind"}),
		limited: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lanyard_authority_rate_limited_total", Help: "Requests over a rate, by whose it is: source, workload or administrator.",
		}, []string{"by"}),
		counted: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "lanyard_authority_activity_counted_total", Help: "Decisions that were counted together with others alike, rather than recorded one by one.",
		}),
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lanyard_authority_activity_dropped_total", Help: "Events that went before their time, for the number of their class.",
		}, []string{"class"}),
	}
	m.refusedConnections = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "lanyard_authority_connections_refused_total", Help: "Connections closed as they came, by the bound that they were beyond: source or all.",
	}, []string{"by"})
	// There from the start: an alert on the first loss needs the 0 before it.
	for _, class := range []store.Class{store.Enrolment, store.Traffic, store.Unauthenticated} {
		m.dropped.WithLabelValues(string(class))
	}
	for _, by := range []string{httpserve.BySource, httpserve.ByAll} {
		m.refusedConnections.WithLabelValues(by)
	}
	m.registry.MustRegister(m.counted, m.dropped, m.refusedConnections, m.requests, m.duration, m.tokens, m.enrolments, m.refusals, m.limited,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// observeCertificate shows when the certificate of TLS expires.
func (m *metrics) observeCertificate(expires func() time.Time) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "lanyard_authority_tls_certificate_expiry_timestamp_seconds",
		Help: "When the certificate that is served now expires, in Unix time.",
	}, func() float64 { return float64(expires().Unix()) }))
}

func (m *metrics) observe(endpoint string, code int, took time.Duration) {
	m.requests.WithLabelValues(endpoint, strconv.Itoa(code)).Inc()
	m.duration.WithLabelValues(endpoint).Observe(took.Seconds())
}
