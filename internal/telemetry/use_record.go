package telemetry

import (
	"cmp"
	"context"
	"log/slog"
	"strconv"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/lanyardhq/lanyard/internal/workload"
)

// Use records one use of a token, or one request that got none: it counts it,
// logs it at debug level, and makes the span of it where spans are exported. It
// never waits, and without an exporter it allocates nothing. What an operator
// should be warned of is the caller's business, who knows how often it happens.
func (r *Recorder) Use(u Use) {
	r.metrics.requests.get(requestLabels{u.Outcome, u.Destination, u.Identity}).Add(1)
	if u.Outcome == workload.BadRequest {
		r.metrics.refusals.get(u.Refusal).Add(1)
	}
	if u.Anonymous != "" {
		r.metrics.anonymous.get(anonymousLabels{u.Anonymous, cmp.Or(u.Destination, u.Nearby), u.Identity}).Add(1)
	}
	r.metrics.hop.count(&u)
	if r.logger.Enabled(context.Background(), slog.LevelDebug) {
		r.logger.LogAttrs(context.Background(), slog.LevelDebug, "request", useLogAttributes(&u)...)
	}
	if r.tracer != nil && hasSpan(u.Outcome) {
		r.traceUse(&u)
	}
}

// hasSpan reports whether an outcome is a use of a token, or should have been
// one. The rest is other people's traffic: counted, but nobody's trace.
func hasSpan(o workload.Outcome) bool {
	switch o {
	case workload.NoIdentity, workload.NoDestination, workload.Untouched, workload.NotHTTP, workload.BadRequest, workload.NotSent, workload.ProtocolRefused:
		return false
	}
	return true
}

// isFailure reports whether an outcome is an error of the span.
func isFailure(o workload.Outcome) bool {
	switch o {
	case workload.DestinationUnverified, workload.IdentityAmbiguous, workload.TokenUnavailable,
		workload.AgentUnavailable, workload.Refused, workload.UpstreamFailed, workload.BadRequest, workload.NotSent, workload.ProtocolRefused:
		return true
	}
	return false
}

// useLogAttributes are the facts of a log line; what is not known is left out.
func useLogAttributes(u *Use) []slog.Attr {
	attrs := make([]slog.Attr, 0, 16)
	text := func(key, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(key, value))
		}
	}
	text("outcome", string(u.Outcome))
	text("identity", u.Identity)
	text("destination", u.Destination)
	attrs = append(attrs, slog.Uint64("pid", uint64(u.Image.PID)))
	text("executable", u.Executable)
	text("method", clean(u.Method))
	text("host", clean(u.Host))
	if u.Peer.Original.IsValid() {
		text("address", u.Peer.Original.String())
	}
	text("audience", u.Audience)
	text("token_id", u.TokenID)
	if u.Status != 0 {
		attrs = append(attrs, slog.Int("status", u.Status))
	}
	text("refusal", u.Refusal)
	text("anonymous", string(u.Anonymous))
	text("nearby", u.Nearby)
	attrs = append(attrs, slog.Duration("took", u.End.Sub(u.Start)))
	if u.Reason != nil {
		text("error", clean(u.Reason.Error()))
	}
	return attrs
}

func (r *Recorder) traceUse(u *Use) {
	_, span := r.tracer.Start(parentOf(u), spanUse,
		trace.WithSpanKind(trace.SpanKindClient),
		trace.WithTimestamp(u.Start),
		trace.WithAttributes(useAttributes(u)...))
	setUseStatus(span, u)
	r.end(span, u.End)
}

// parentOf returns a context that carries the request's own span, if its
// traceparent is valid by W3C Trace Context.
func parentOf(u *Use) context.Context {
	if u.Traceparent == "" {
		return context.Background()
	}
	return propagation.TraceContext{}.Extract(context.Background(), propagation.MapCarrier{
		"traceparent": u.Traceparent,
		"tracestate":  u.Tracestate,
	})
}

// useAttributes are named by OpenTelemetry's semantic conventions where those
// have a name. What is not known is left out.
func useAttributes(u *Use) []attribute.KeyValue {
	attrs := make([]attribute.KeyValue, 0, 16)
	attrs = appendText(attrs, attributeOutcome, string(u.Outcome))
	attrs = appendText(attrs, attributeIdentity, u.Identity)
	attrs = appendText(attrs, attributeDestination, u.Destination)
	attrs = appendText(attrs, attributeAudience, u.Audience)
	attrs = appendText(attrs, attributeTokenID, u.TokenID)
	if !u.Expires.IsZero() {
		attrs = append(attrs, attributeExpiresIn.Int64(int64(u.Expires.Sub(u.End).Seconds())))
	}
	if u.Image.PID != 0 {
		attrs = append(attrs, semconv.ProcessPIDKey.Int64(int64(u.Image.PID)))
	}
	attrs = appendText(attrs, semconv.ProcessExecutablePathKey, u.Executable)
	attrs = appendMethod(attrs, u.Method)
	attrs = appendText(attrs, semconv.ServerAddressKey, u.Host)
	if to := u.Peer.Original; to.IsValid() {
		attrs = append(attrs, semconv.ServerPortKey.Int(int(to.Port())),
			semconv.NetworkPeerAddressKey.String(to.Addr().String()))
	}
	if u.Status != 0 {
		attrs = append(attrs, semconv.HTTPResponseStatusCodeKey.Int(u.Status))
	}
	return attrs
}

// appendMethod keeps the number of methods small, as the conventions ask: what
// is not a known method is "_OTHER", with the original beside it.
func appendMethod(attrs []attribute.KeyValue, method string) []attribute.KeyValue {
	switch method {
	case "":
		return attrs
	case "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY":
		return append(attrs, semconv.HTTPRequestMethodKey.String(method))
	}
	return append(attrs, semconv.HTTPRequestMethodOther,
		semconv.HTTPRequestMethodOriginalKey.String(clean(method)))
}

// setUseStatus marks a failure: ours by its outcome, the server's by its status
// code, as the conventions ask of a client span.
func setUseStatus(span trace.Span, u *Use) {
	switch {
	case isFailure(u.Outcome):
		span.SetAttributes(semconv.ErrorTypeKey.String(string(u.Outcome)))
		description := string(u.Outcome)
		if u.Reason != nil {
			description = clean(u.Reason.Error())
		}
		span.SetStatus(codes.Error, description)
	case u.Status >= 400:
		span.SetAttributes(semconv.ErrorTypeKey.String(strconv.Itoa(u.Status)))
		span.SetStatus(codes.Error, "")
	}
}
