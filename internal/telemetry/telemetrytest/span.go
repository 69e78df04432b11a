package telemetrytest

import (
	"context"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
)

// Span is one received span. Attribute values are written as text; ids are
// lower-case hex, ParentID is empty for a root span.
type Span struct {
	Name                      string
	Kind                      string // "client", "internal", …
	TraceID, SpanID, ParentID string
	TraceState                string
	Start, End                time.Time
	Attributes                map[string]string
	Resource                  map[string]string
	Failed                    bool
	StatusMessage             string
}

// Spans returns every span received so far, in the order of arrival.
func (r *Receiver) Spans() []Span {
	exports, _ := r.received()
	return spansOf(exports)
}

// Wait returns the first span for which match says yes, as soon as there is one.
// It fails when ctx is done, naming the spans that did arrive.
func (r *Receiver) Wait(ctx context.Context, match func(Span) bool) (Span, error) {
	seen := 0
	for {
		exports, changed := r.received()
		for _, span := range spansOf(exports[seen:]) {
			if match(span) {
				return span, nil
			}
		}
		seen = len(exports)
		select {
		case <-changed:
		case <-ctx.Done():
			return Span{}, fmt.Errorf("wait for a span: %w; received: %s", ctx.Err(), names(r.Spans()))
		}
	}
}

// With matches spans of a name with these attributes, given as key, value, key,
// value.
func With(name string, attributes ...string) func(Span) bool {
	return func(s Span) bool {
		for i := 0; i+1 < len(attributes); i += 2 {
			if s.Attributes[attributes[i]] != attributes[i+1] {
				return false
			}
		}
		return s.Name == name
	}
}

func names(spans []Span) string {
	if len(spans) == 0 {
		return "none"
	}
	list := make([]string, 0, len(spans))
	for _, s := range spans {
		list = append(list, fmt.Sprintf("%q %v", s.Name, s.Attributes))
	}
	return strings.Join(list, "; ")
}

func spansOf(exports []*collector.ExportTraceServiceRequest) []Span {
	var spans []Span
	for _, export := range exports {
		for _, fromResource := range export.GetResourceSpans() {
			resource := texts(fromResource.GetResource().GetAttributes())
			for _, fromScope := range fromResource.GetScopeSpans() {
				for _, span := range fromScope.GetSpans() {
					spans = append(spans, newSpan(span, resource))
				}
			}
		}
	}
	return spans
}

func newSpan(s *tracev1.Span, resource map[string]string) Span {
	return Span{
		Name:          s.GetName(),
		Kind:          strings.ToLower(strings.TrimPrefix(s.GetKind().String(), "SPAN_KIND_")),
		TraceID:       hex.EncodeToString(s.GetTraceId()),
		SpanID:        hex.EncodeToString(s.GetSpanId()),
		ParentID:      hex.EncodeToString(s.GetParentSpanId()),
		TraceState:    s.GetTraceState(),
		Start:         time.Unix(0, int64(s.GetStartTimeUnixNano())),
		End:           time.Unix(0, int64(s.GetEndTimeUnixNano())),
		Attributes:    texts(s.GetAttributes()),
		Resource:      resource,
		Failed:        s.GetStatus().GetCode() == tracev1.Status_STATUS_CODE_ERROR,
		StatusMessage: s.GetStatus().GetMessage(),
	}
}

func texts(attributes []*common.KeyValue) map[string]string {
	all := make(map[string]string, len(attributes))
	for _, a := range attributes {
		all[a.GetKey()] = text(a.GetValue())
	}
	return all
}

func text(v *common.AnyValue) string {
	switch v := v.GetValue().(type) {
	case *common.AnyValue_StringValue:
		return v.StringValue
	case *common.AnyValue_IntValue:
		return strconv.FormatInt(v.IntValue, 10)
	case *common.AnyValue_BoolValue:
		return strconv.FormatBool(v.BoolValue)
	case *common.AnyValue_DoubleValue:
		return strconv.FormatFloat(v.DoubleValue, 'g', -1, 64)
	}
	return v.String()
}
