package telemetry

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// The upper bounds of the buckets, in seconds: of what the hop adds to a request,
// which is tens of microseconds while the token is warm, and of what its issuer takes.
var (
	latencyBounds = []float64{25e-6, 50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 50e-3, 0.25, 1, 5, 15}
	fetchBounds   = []float64{5e-3, 10e-3, 25e-3, 50e-3, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15}
)

// maxBuckets is how many bounds a histogram may have.
const maxBuckets = 14

// histogram counts durations by bucket. The zero value is empty. It is safe for
// concurrent use, takes no lock and does not allocate; a scrape may see an
// observation in the sum before it does in its bucket.
type histogram struct {
	buckets [maxBuckets + 1]atomic.Uint64 // the last is that above all bounds
	sum     atomic.Int64                  // nanoseconds
}

func (h *histogram) observe(d time.Duration, bounds []float64) {
	seconds, i := d.Seconds(), 0
	for i < len(bounds) && seconds > bounds[i] {
		i++
	}
	h.sum.Add(int64(d))
	h.buckets[i].Add(1)
}

func (h *histogram) metric(desc *prometheus.Desc, bounds []float64, labels ...string) prometheus.Metric {
	cumulative, total := make(map[float64]uint64, len(bounds)), uint64(0)
	for i, bound := range bounds {
		total += h.buckets[i].Load()
		cumulative[bound] = total
	}
	total += h.buckets[len(bounds)].Load()
	return prometheus.MustNewConstHistogram(desc, total, time.Duration(h.sum.Load()).Seconds(), cumulative, labels...)
}
