package telemetry

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// Listener is how a listener that the agent does its work without stands: the local
// API's, and that of metrics and health.
type Listener struct {
	Kind        string // what it is for
	Address     string // where it is, as it was configured
	Up          bool
	Connections int    // held now
	Refused     uint64 // connections closed as soon as they were accepted, so far
	Evicted     uint64 // connections closed in favour of others, so far
}

// ObserveListeners makes read the source of the optional listeners' state. It is
// called at every scrape, from any goroutine. A later call replaces the source, nil
// removes it.
func (r *Recorder) ObserveListeners(read func() []Listener) {
	if read == nil {
		r.metrics.listeners.read.Store(nil)
		return
	}
	r.metrics.listeners.read.Store(&read)
}

// LocalAPICall counts a call of the local API by its result, one of a fixed set.
func (r *Recorder) LocalAPICall(result string) { r.metrics.listeners.calls.get(result).Add(1) }

// listenerMetrics is a prometheus.Collector.
type listenerMetrics struct {
	read  atomic.Pointer[func() []Listener]
	calls counters[string]

	callsDesc, up, connections, closed *prometheus.Desc
}

func newListenerMetrics() *listenerMetrics {
	describe := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return &listenerMetrics{
		calls:       counters[string]{overflow: func(string) string { return overflowName }},
		callsDesc:   describe(metricLocalAPICalls, "Calls of the local API.", labelResult),
		up:          describe(metricListenerUp, "Whether an optional listener is there.", labelListener, labelAddress),
		connections: describe(metricListenerOpen, "Connections held by an optional listener now.", labelListener, labelAddress),
		closed: describe(metricListenerClosed, "Connections that an optional listener closed because it was full.",
			labelListener, labelAddress, labelReason),
	}
}

// Describe implements prometheus.Collector.
func (m *listenerMetrics) Describe(out chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{m.callsDesc, m.up, m.connections, m.closed} {
		out <- desc
	}
}

// Collect implements prometheus.Collector.
func (m *listenerMetrics) Collect(out chan<- prometheus.Metric) {
	send := func(desc *prometheus.Desc, kind prometheus.ValueType, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(desc, kind, value, labels...)
	}
	m.calls.each(func(result string, n uint64) {
		send(m.callsDesc, prometheus.CounterValue, float64(n), clean(result))
	})
	read := m.read.Load()
	if read == nil {
		return
	}
	for _, l := range (*read)() {
		send(m.up, prometheus.GaugeValue, oneIf(l.Up), l.Kind, clean(l.Address))
		send(m.connections, prometheus.GaugeValue, float64(l.Connections), l.Kind, clean(l.Address))
		send(m.closed, prometheus.CounterValue, float64(l.Refused), l.Kind, clean(l.Address), "refused")
		send(m.closed, prometheus.CounterValue, float64(l.Evicted), l.Kind, clean(l.Address), "evicted")
	}
}
