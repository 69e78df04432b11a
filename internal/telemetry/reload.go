package telemetry

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// ConfigLoaded notes that a configuration was read and put in force.
func (r *Recorder) ConfigLoaded(at time.Time) {
	r.metrics.config.loaded.Store(at.UnixMilli())
	r.metrics.config.state.Store(configLoaded)
}

// ConfigRefused notes that a configuration was read, or was to be, and the former one
// stays in force.
func (r *Recorder) ConfigRefused() { r.metrics.config.state.Store(configRefused) }

const (
	configUnknown int32 = iota // nothing was read so far
	configLoaded
	configRefused
)

// configMetrics is a prometheus.Collector, with the names that Prometheus has for its own
// configuration.
type configMetrics struct {
	state  atomic.Int32
	loaded atomic.Int64 // milliseconds of Unix time

	successful, when *prometheus.Desc
}

func newConfigMetrics() *configMetrics {
	return &configMetrics{
		successful: prometheus.NewDesc(metricReload, "Whether the last attempt to read the configuration succeeded; if not, the former one is in force.", nil, nil),
		when:       prometheus.NewDesc(metricReloaded, "When the configuration in force was read, in Unix time.", nil, nil),
	}
}

// Describe implements prometheus.Collector.
func (m *configMetrics) Describe(out chan<- *prometheus.Desc) {
	out <- m.successful
	out <- m.when
}

// Collect implements prometheus.Collector.
func (m *configMetrics) Collect(out chan<- prometheus.Metric) {
	state := m.state.Load()
	if state == configUnknown {
		return
	}
	out <- prometheus.MustNewConstMetric(m.successful, prometheus.GaugeValue, oneIf(state == configLoaded))
	out <- prometheus.MustNewConstMetric(m.when, prometheus.GaugeValue, float64(m.loaded.Load())/1000)
}
