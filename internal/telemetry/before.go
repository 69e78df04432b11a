package telemetry

import "github.com/prometheus/client_golang/prometheus"

const metricBefore = "lanyard_connections_before_total"

// ConnectionBefore counts a connection of an identity to a destination that was made
// before the agent could see it. What became of it is one of a fixed set.
func (r *Recorder) ConnectionBefore(identity, destination, result string) {
	r.metrics.before.found.get(beforeLabels{identity, destination, result}).Add(1)
}

type beforeLabels struct{ identity, destination, result string }

// beforeMetrics is a prometheus.Collector.
type beforeMetrics struct {
	found counters[beforeLabels]
	desc  *prometheus.Desc
}

func newBeforeMetrics() *beforeMetrics {
	return &beforeMetrics{
		found: counters[beforeLabels]{overflow: func(l beforeLabels) beforeLabels {
			return beforeLabels{overflowName, overflowName, l.result}
		}},
		desc: prometheus.NewDesc(metricBefore, "Connections of identities that were made before the agent could see them.",
			[]string{labelResult, labelDestination, labelIdentity}, nil),
	}
}

// Describe implements prometheus.Collector.
func (m *beforeMetrics) Describe(out chan<- *prometheus.Desc) { out <- m.desc }

// Collect implements prometheus.Collector.
func (m *beforeMetrics) Collect(out chan<- prometheus.Metric) {
	m.found.each(func(l beforeLabels, n uint64) {
		out <- prometheus.MustNewConstMetric(m.desc, prometheus.CounterValue, float64(n), l.result, clean(l.destination), clean(l.identity))
	})
}
