package telemetry

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

const (
	// scope names the instrumentation in every span.
	scope = "github.com/lanyardhq/lanyard"
	// shutdownTimeout bounds Shutdown where its caller sets no earlier deadline.
	shutdownTimeout = 5 * time.Second
	// stopTimeout is how long Shutdown waits for an exporter that it has told to stop. One
	// that goes by its context stops at once.
	stopTimeout = time.Second
)

// Options say who records. Where spans go is taken from the OTEL_* environment
// variables, as OpenTelemetry specifies them.
type Options struct {
	Service string       // service.name, unless OTEL_SERVICE_NAME says otherwise
	Version string       // of this binary
	Logger  *slog.Logger // nil discards
}

// Recorder records uses and obtainings of tokens as spans, metrics and log
// lines. It is safe for concurrent use.
type Recorder struct {
	logger   *slog.Logger
	metrics  *metrics
	handler  http.Handler
	provider *sdktrace.TracerProvider // nil where nothing is exported
	exporter *exporter                // nil where nothing is exported
	tracer   trace.Tracer             // nil where nothing is exported
}

// Setup returns a recorder. It exports spans only where the environment names an
// exporter or an endpoint for them, and fails where it names one that does not
// exist. It does not wait for a collector. The caller ends it with Shutdown.
func Setup(ctx context.Context, o Options) (*Recorder, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	m := newMetrics(o.Version)
	provider, exporter, err := newTracing(ctx, o, m)
	if err != nil {
		return nil, err
	}
	r := &Recorder{logger: o.Logger, metrics: m, handler: m.handler(), provider: provider, exporter: exporter}
	if provider != nil {
		r.tracer = provider.Tracer(scope, trace.WithInstrumentationVersion(o.Version))
	}
	return r, nil
}

// Handler serves the metrics in the Prometheus exposition format.
func (r *Recorder) Handler() http.Handler { return r.handler }

// ObserveKernel makes read the source of the kernel counters: events by name,
// each only ever growing. It is called at every scrape, from any goroutine. At
// most 128 names are kept. A later call replaces the source, nil removes it.
func (r *Recorder) ObserveKernel(read func() map[string]uint64) {
	if read == nil {
		r.metrics.kernel.Store(nil)
		return
	}
	r.metrics.kernel.Store(&read)
}

// ObserveConnections makes open the source of the number of open connections. It
// is called at every scrape, from any goroutine. A later call replaces the
// source, nil removes it.
func (r *Recorder) ObserveConnections(open func() int) {
	if open == nil {
		r.metrics.connections.Store(nil)
		return
	}
	r.metrics.connections.Store(&open)
}

// ConnectionLimit says how many connections may be open.
func (r *Recorder) ConnectionLimit(most int) { r.metrics.limit.Store(int64(most)) }

// ObserveHooks makes up the source of whether the hooks see connects. It
// is called at every scrape, from any goroutine. A later call replaces the
// source, nil removes it.
func (r *Recorder) ObserveHooks(up func() bool) {
	if up == nil {
		r.metrics.hooks.Store(nil)
		return
	}
	r.metrics.hooks.Store(&up)
}

// ObserveProblems makes up the source of how many parts do not work. It is called at
// every scrape, from any goroutine. A later call replaces the source, nil removes it.
func (r *Recorder) ObserveProblems(count func() (failing, degraded int)) {
	if count == nil {
		r.metrics.problems.Store(nil)
		return
	}
	r.metrics.problems.Store(&count)
}

// Flush exports the spans recorded so far, or returns when ctx is done.
func (r *Recorder) Flush(ctx context.Context) error {
	if r.provider == nil {
		return nil
	}
	if err := r.provider.ForceFlush(ctx); err != nil {
		return fmt.Errorf("flush traces: %w", err)
	}
	return nil
}

// Shutdown exports the spans recorded so far, within the deadline of ctx and never
// later than five seconds from now, and ends the export: it returns at most a second
// later, whatever the exporter does. Spans of calls after it are lost; metrics go on.
// Call it once.
func (r *Recorder) Shutdown(ctx context.Context) error {
	if r.provider == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, shutdownTimeout)
	defer cancel()
	err := r.provider.Shutdown(ctx)
	r.exporter.cancel()
	select {
	case <-r.exporter.done:
	case <-time.After(stopTimeout):
	}
	if err != nil {
		return fmt.Errorf("shut down traces: %w; spans that the collector did not take are lost", err)
	}
	return nil
}
