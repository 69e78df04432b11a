package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// Obtaining is one attempt to obtain a token from its issuer. It carries no
// token.
type Obtaining struct {
	Start    time.Time
	End      time.Time
	Identity string
	Audience string
	TokenID  string    // jti of the token, or ""
	Expires  time.Time // of the token, or zero
	Err      error     // why there is no token, or nil
}

// Obtained records one attempt to obtain a token: counted, logged at debug level,
// and a span where spans are exported. It never waits.
func (r *Recorder) Obtained(o Obtaining) {
	result := resultObtained
	if o.Err != nil {
		result = resultFailed
	}
	r.metrics.fetches.get(fetchLabels{result, o.Identity}).Add(1)
	r.metrics.fetchTimes.get(result, overflown).observe(o.End.Sub(o.Start), fetchBounds)
	r.logObtaining(&o)
	if r.tracer != nil {
		r.traceObtaining(&o)
	}
}

func (r *Recorder) logObtaining(o *Obtaining) {
	attrs := []slog.Attr{
		slog.String("identity", o.Identity), slog.String("audience", o.Audience), slog.Duration("took", o.End.Sub(o.Start)),
	}
	if o.Err != nil {
		attrs = append(attrs, slog.String("error", clean(o.Err.Error())))
	} else {
		attrs = append(attrs, slog.String("token_id", o.TokenID), slog.Time("expires", o.Expires))
	}
	r.logger.LogAttrs(context.Background(), slog.LevelDebug, "obtaining of a token", attrs...)
}

func (r *Recorder) traceObtaining(o *Obtaining) {
	attrs := make([]attribute.KeyValue, 0, 8)
	attrs = appendText(attrs, attributeIdentity, o.Identity)
	attrs = appendText(attrs, attributeAudience, o.Audience)
	attrs = appendText(attrs, attributeTokenID, o.TokenID)
	if !o.Expires.IsZero() {
		attrs = append(attrs, attributeExpiresIn.Int64(int64(o.Expires.Sub(o.End).Seconds())))
	}
	_, span := r.tracer.Start(context.Background(), spanObtaining,
		trace.WithSpanKind(trace.SpanKindClient),
		trace.WithTimestamp(o.Start),
		trace.WithAttributes(attrs...))
	if o.Err != nil {
		span.SetAttributes(semconv.ErrorTypeKey.String(errorType(o.Err)))
		span.SetStatus(codes.Error, clean(o.Err.Error()))
	}
	r.end(span, o.End)
}

// errorType names the type of the error below those that only add words to it.
func errorType(err error) string {
	for {
		name := strings.TrimPrefix(fmt.Sprintf("%T", err), "*")
		inner := errors.Unwrap(err)
		if name != "fmt.wrapError" || inner == nil {
			return name
		}
		err = inner
	}
}

// end ends a span that is recorded, and counts it.
func (r *Recorder) end(span trace.Span, at time.Time) {
	if span.IsRecording() {
		r.metrics.spans.ended.Add(1)
	}
	span.End(trace.WithTimestamp(at))
}

func appendText(attrs []attribute.KeyValue, key attribute.Key, value string) []attribute.KeyValue {
	if value == "" {
		return attrs
	}
	return append(attrs, key.String(clean(value)))
}
