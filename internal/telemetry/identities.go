package telemetry

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// IdentityState is how an identity stands with its tokens.
type IdentityState struct {
	Name        string
	HasToken    bool
	Expires     time.Time // when the first of its tokens expires; zero without any
	LastSuccess time.Time // when a token was obtained last; zero for never
	Failing     []string  // why attempts failed last, of a small fixed set, each once
}

// ObserveIdentities makes read the source of the identities' state. It is called at
// every scrape, from any goroutine. A later call replaces the source, nil removes it.
func (r *Recorder) ObserveIdentities(read func() []IdentityState) {
	if read == nil {
		r.metrics.identities.read.Store(nil)
		return
	}
	r.metrics.identities.read.Store(&read)
}

// identityMetrics is a prometheus.Collector.
type identityMetrics struct {
	read atomic.Pointer[func() []IdentityState]

	configured, available, expiry, success, failing *prometheus.Desc
}

func newIdentityMetrics() *identityMetrics {
	describe := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return &identityMetrics{
		configured: describe(metricIdentities, "Identities that are configured."),
		available:  describe(metricTokenAvailable, "Whether a valid token of the identity is held.", labelIdentity),
		expiry:     describe(metricTokenExpiry, "When the first token of the identity that is held expires, in Unix time.", labelIdentity),
		success:    describe(metricTokenSuccess, "When a token of the identity was obtained last, in Unix time.", labelIdentity),
		failing:    describe(metricTokenFailing, "Always 1; the last attempt to obtain a token that a destination asks for failed.", labelIdentity, labelReason),
	}
}

// Describe implements prometheus.Collector.
func (m *identityMetrics) Describe(out chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{m.configured, m.available, m.expiry, m.success, m.failing} {
		out <- desc
	}
}

// Collect implements prometheus.Collector.
func (m *identityMetrics) Collect(out chan<- prometheus.Metric) {
	read := m.read.Load()
	if read == nil {
		return
	}
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	all := (*read)()
	gauge(m.configured, float64(len(all)))
	for _, one := range all[:min(len(all), maxSeries)] {
		name := clean(one.Name)
		gauge(m.available, oneIf(one.HasToken), name)
		if !one.Expires.IsZero() {
			gauge(m.expiry, unixSeconds(one.Expires), name)
		}
		if !one.LastSuccess.IsZero() {
			gauge(m.success, unixSeconds(one.LastSuccess), name)
		}
		for _, reason := range one.Failing {
			gauge(m.failing, 1, name, reason)
		}
	}
}

func oneIf(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// unixSeconds is a time as Prometheus has it.
func unixSeconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }
