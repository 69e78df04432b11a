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

	addedDesc, responsesDesc *prometheus.Desc
}

// responseLabels are the label values of a response. The class is its status' first
// digit; 0 stands for none that was whole enough to be read.
type responseLabels struct {
	destination string
	class       uint8
}

func newHopMetrics() *hopMetrics {
	return &hopMetrics{
		responses: counters[responseLabels]{overflow: func(l responseLabels) responseLabels {
			return responseLabels{overflowName, l.class}
		}},
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
}

// Collect implements prometheus.Collector.
func (m *hopMetrics) Collect(out chan<- prometheus.Metric) {
	m.added.each(func(destination string, h *histogram) {
		out <- h.metric(m.addedDesc, latencyBounds, clean(destination))
	})
	m.responses.each(func(l responseLabels, n uint64) {
		out <- prometheus.MustNewConstMetric(m.responsesDesc, prometheus.CounterValue, float64(n), clean(l.destination), classes[l.class])
	})
}
