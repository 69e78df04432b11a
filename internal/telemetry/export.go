package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"

	"go.opentelemetry.io/contrib/exporters/autoexport"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
)

// exportWanted reports whether the environment names an exporter of traces or
// the endpoint of one. OpenTelemetry itself would export to localhost without
// either; we export nothing that nobody asked for.
func exportWanted() bool {
	if os.Getenv("OTEL_SDK_DISABLED") == "true" {
		return false
	}
	for _, name := range []string{
		"OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
	} {
		if os.Getenv(name) != "" {
			return true
		}
	}
	return false
}

// newTracing returns the tracer provider and its exporter, or nil for both where
// nothing is to be exported. The provider's queue and batches have the bounds of
// OTEL_BSP_*, by default 2048 spans; a full queue drops spans and never waits.
func newTracing(ctx context.Context, o Options, m *metrics) (*trace.TracerProvider, *exporter, error) {
	if !exportWanted() {
		return nil, nil, nil
	}
	to, err := newSpanExporter(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("set up traces: %w; look at the OTEL_* environment variables", err)
	}
	if autoexport.IsNoneSpanExporter(to) {
		return nil, nil, nil
	}
	source, err := describeSource(ctx, o)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("set up traces: %w", err), to.Shutdown(ctx))
	}
	e := newExporter(to, o.Logger, &m.spans)
	return trace.NewTracerProvider(trace.WithBatcher(e), trace.WithResource(source)), e, nil
}

// describeSource says who exports. OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES
// go over what we say.
func describeSource(ctx context.Context, o Options) (*resource.Resource, error) {
	return resource.New(ctx,
		resource.WithAttributes(
			attribute.String(string(semconv.ServiceNameKey), o.Service),
			attribute.String(string(semconv.ServiceVersionKey), o.Version)),
		resource.WithTelemetrySDK(), resource.WithHost(), resource.WithFromEnv())
}

// exporter counts what is exported, and logs when the collector goes away and
// when it is back. It ends when its owner's Shutdown says so, however long the
// collector would take to answer.
type exporter struct {
	to     trace.SpanExporter
	logger *slog.Logger
	counts *spanCounts
	failed atomic.Bool // the last export

	stop   context.Context // done when exports must end
	cancel context.CancelFunc
	done   chan struct{} // closed when to is shut down
}

func newExporter(to trace.SpanExporter, logger *slog.Logger, counts *spanCounts) *exporter {
	stop, cancel := context.WithCancel(context.Background())
	return &exporter{to: to, logger: logger, counts: counts, stop: stop, cancel: cancel, done: make(chan struct{})}
}

// ExportSpans implements trace.SpanExporter. It logs a failure instead of
// returning it, since the SDK would print it, unstructured, from a global hook.
func (e *exporter) ExportSpans(ctx context.Context, spans []trace.ReadOnlySpan) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(e.stop, cancel)()
	err := e.to.ExportSpans(ctx, spans)
	if err != nil {
		e.counts.failed.Add(uint64(len(spans)))
		if !e.failed.Swap(true) {
			e.logger.Warn("traces cannot be exported; spans are lost until the collector answers", "error", err)
		}
		return nil
	}
	e.counts.exported.Add(uint64(len(spans)))
	if e.failed.Swap(false) {
		e.logger.Info("traces are exported again")
	}
	return nil
}

// Shutdown implements trace.SpanExporter.
func (e *exporter) Shutdown(ctx context.Context) error {
	defer close(e.done)
	return e.to.Shutdown(ctx)
}
