package telemetry

import (
	"maps"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/lanyardhq/lanyard/internal/workload"
)

const (
	// maxKernelCounters bounds what ObserveKernel's function may report.
	maxKernelCounters = 128
	// maxScrapes bounds concurrent scrapes; more get 503.
	maxScrapes = 4
)

// requestLabels and fetchLabels are the label values of a request and of the
// obtaining of a token.
type (
	requestLabels struct {
		outcome               workload.Outcome
		destination, identity string
	}
	anonymousLabels struct {
		reason                workload.Anonymous
		destination, identity string
	}
	fetchLabels struct{ result, identity string }
)

// The results of obtaining a token.
const (
	resultObtained = "obtained"
	resultFailed   = "failed"
)

// metrics holds every number the product counts; it is a prometheus.Collector.
type metrics struct {
	requests    counters[requestLabels]
	refusals    counters[string]
	anonymous   counters[anonymousLabels]
	fetches     counters[fetchLabels]
	fetchTimes  family[string, histogram] // by result
	spans       spanCounts
	kernel      atomic.Pointer[func() map[string]uint64]
	connections atomic.Pointer[func() int]
	hooks       atomic.Pointer[func() bool]
	problems    atomic.Pointer[func() (failing, degraded int)]
	listeners   *listenerMetrics
	before      *beforeMetrics
	identities  *identityMetrics
	hop         *hopMetrics
	config      *configMetrics
	limit       atomic.Int64 // of connections, 0 if it is not known
	version     string
	desc        descriptions
}

// spanCounts tells what became of the spans: those ended and neither exported
// nor failed wait in the queue, or were dropped when it was full.
type spanCounts struct{ ended, exported, failed atomic.Uint64 }

type descriptions struct {
	requests, refusals, anonymous, fetches, fetchTimes, kernel, connections, limit, hooks, problems, build, spans *prometheus.Desc
}

func newMetrics(version string) *metrics {
	describe := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return &metrics{
		version:    version,
		listeners:  newListenerMetrics(),
		before:     newBeforeMetrics(),
		identities: newIdentityMetrics(),
		hop:        newHopMetrics(),
		config:     newConfigMetrics(),
		requests: counters[requestLabels]{overflow: func(l requestLabels) requestLabels {
			return requestLabels{l.outcome, overflowName, overflowName}
		}},
		refusals: counters[string]{overflow: func(string) string { return overflowName }},
		anonymous: counters[anonymousLabels]{overflow: func(l anonymousLabels) anonymousLabels {
			return anonymousLabels{l.reason, overflowName, overflowName}
		}},
		fetches: counters[fetchLabels]{overflow: func(l fetchLabels) fetchLabels {
			return fetchLabels{l.result, overflowName}
		}},
		desc: descriptions{
			requests: describe(metricRequests, "Requests and connections by outcome.",
				labelOutcome, labelDestination, labelIdentity),
			refusals: describe(metricRefusals, "Requests that are too malformed to be forwarded.", labelReason),
			anonymous: describe(metricAnonymous, "What identities sent to destinations without their token, by reason.",
				labelIdentity, labelDestination, labelReason),
			fetches:     describe(metricFetches, "Tokens asked for at their issuer.", labelResult, labelIdentity),
			fetchTimes:  describe(metricFetchTime, "How long it took to obtain a token, or to fail.", labelResult),
			limit:       describe(metricLimit, "Connections that the injector may hold."),
			kernel:      describe(metricKernel, "What the eBPF programs counted.", labelEvent),
			connections: describe(metricConnections, "Connections held by the injector now."),
			hooks:       describe(metricHooks, "Whether the eBPF hooks are attached and see connects."),
			problems:    describe(metricProblems, "Parts of the agent that do not work, by what that means: no tokens (failing), or less than there should be (degraded).", labelSeverity),
			build:       describe(metricBuild, "Always 1; the labels say what runs.", labelVersion, labelGoVersion),
			spans:       describe(metricSpans, "Trace spans by what became of them.", labelState),
		},
	}
}

// handler answers scrapes in the Prometheus exposition format.
func (m *metrics) handler() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(m, m.listeners, m.before, m.identities, m.hop, m.config, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes})
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(out chan<- *prometheus.Desc) {
	d := &m.desc
	for _, desc := range []*prometheus.Desc{d.requests, d.refusals, d.anonymous, d.fetches, d.fetchTimes, d.kernel, d.connections, d.limit, d.hooks, d.problems, d.build, d.spans} {
		out <- desc
	}
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(out chan<- prometheus.Metric) {
	counter := func(desc *prometheus.Desc, value uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(value), labels...)
	}
	m.requests.each(func(l requestLabels, n uint64) {
		counter(m.desc.requests, n, string(l.outcome), clean(l.destination), clean(l.identity))
	})
	m.refusals.each(func(reason string, n uint64) { counter(m.desc.refusals, n, clean(reason)) })
	m.anonymous.each(func(l anonymousLabels, n uint64) {
		counter(m.desc.anonymous, n, clean(l.identity), clean(l.destination), string(l.reason))
	})
	m.fetches.each(func(l fetchLabels, n uint64) { counter(m.desc.fetches, n, l.result, clean(l.identity)) })
	m.fetchTimes.each(func(result string, h *histogram) { out <- h.metric(m.desc.fetchTimes, fetchBounds, result) })
	counter(m.desc.spans, m.spans.ended.Load(), "ended")
	counter(m.desc.spans, m.spans.exported.Load(), "exported")
	counter(m.desc.spans, m.spans.failed.Load(), "failed")
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	gauge(m.desc.build, 1, m.version, runtime.Version())
	if limit := m.limit.Load(); limit > 0 {
		gauge(m.desc.limit, float64(limit))
	}
	if open := m.connections.Load(); open != nil {
		gauge(m.desc.connections, float64((*open)()))
	}
	if up := m.hooks.Load(); up != nil {
		gauge(m.desc.hooks, oneIf((*up)()))
	}
	if count := m.problems.Load(); count != nil {
		failing, degraded := (*count)()
		gauge(m.desc.problems, float64(failing), "failing")
		gauge(m.desc.problems, float64(degraded), "degraded")
	}
	if read := m.kernel.Load(); read != nil {
		events := (*read)()
		for i, name := range slices.Sorted(maps.Keys(events)) {
			if i == maxKernelCounters {
				break
			}
			counter(m.desc.kernel, events[name], clean(name))
		}
	}
}

// maxText bounds every text that a span or a metric carries, in bytes.
const maxText = 1024

// clean makes a text that came from outside fit for export: one byte that is not
// UTF-8 would make the whole batch, or the whole scrape, fail.
func clean(s string) string {
	if len(s) > maxText {
		s = s[:maxText]
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
