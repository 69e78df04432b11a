package telemetry

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/lanyardhq/lanyard/internal/workload"
)

// hopMetrics tell what the hop costs a request, and what comes back through it. It is
// a prometheus.Collector.
type hopMetrics struct {
	added     family[string, histogram] // by destination
	responses counters[responseLabels]
	misses    counters[missLabels]

	addedDesc, responsesDesc, missesDesc *prometheus.Desc
}

// responseLabels are the label values of a response. The class is its status' first
// digit; 0 stands for none that was whole enough to be read.
type responseLabels struct {
	destination string
	class       uint8
}

// missLabels are the label values of what probably missed a destination.
type missLabels struct{ identity, destination, reason string }

// Missed counts a request or connection of an identity that was probably meant for a
// destination, and that by what it was could not have its token. The reason is one of a
// small fixed set.
func (r *Recorder) Missed(identity, destination, reason string) {
	r.metrics.hop.misses.get(missLabels{identity, destination, reason}).Add(1)
}

func newHopMetrics() *hopMetrics {
	return &hopMetrics{
		responses: counters[responseLabels]{overflow: func(l responseLabels) responseLabels {
			return responseLabels{overflowName, l.class}
		}},
		misses: counters[missLabels]{overflow: func(l missLabels) missLabels {
			return missLabels{overflowName, overflowName, l.reason}
		}},
		missesDesc: prometheus.NewDesc(metricMisses, "Requests and connections of identities that were probably meant for a destination, and got no token.",
			[]string{labelIdentity, labelDestination, labelReason}, nil),
		addedDesc: prometheus.NewDesc(metricAdded, "From a request's head being read to its being ready to be sent on: what the hop adds.",
			[]string{labelDestination}, nil),
		responsesDesc: prometheus.NewDesc(metricResponses, "Responses of destinations to requests that were sent on, by class of status.",
			[]string{labelDestination, labelClass}, nil),
	}
}

// count counts a request that was sent on, and what became of it.
func (m *hopMetrics) count(u *Use) {
	if u.Sent.IsZero() {
		return
	}
	m.added.get(u.Destination, overflown).observe(u.Sent.Sub(u.Start), latencyBounds)
	class := uint8(0)
	if u.Status >= 100 && u.Status <= 599 && u.Outcome != workload.BadRequest { // that status is ours
		class = uint8(u.Status / 100)
	}
	m.responses.get(responseLabels{u.Destination, class}).Add(1)
}

func overflown(string) string { return overflowName }

// classes are the label values of responseLabels.class, as OpenTelemetry and Prometheus
// exporters have them.
var classes = [...]string{"none", "1xx", "2xx", "3xx", "4xx", "5xx"}

// Describe implements prometheus.Collector.
func (m *hopMetrics) Describe(out chan<- *prometheus.Desc) {
	out <- m.addedDesc
	out <- m.responsesDesc
	out <- m.missesDesc
}

// Collect implements prometheus.Collector.
func (m *hopMetrics) Collect(out chan<- prometheus.Metric) {
	m.added.each(func(destination string, h *histogram) {
		out <- h.metric(m.addedDesc, latencyBounds, clean(destination))
	})
	m.responses.each(func(l responseLabels, n uint64) {
		out <- prometheus.MustNewConstMetric(m.responsesDesc, prometheus.CounterValue, float64(n), clean(l.destination), classes[l.class])
	})
	m.misses.each(func(l missLabels, n uint64) {
		out <- prometheus.MustNewConstMetric(m.missesDesc, prometheus.CounterValue, float64(n), clean(l.identity), clean(l.destination), l.reason)
	})
}
