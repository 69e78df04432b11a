package telemetrytest_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	resource "go.opentelemetry.io/proto/otlp/resource/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/lanyardhq/lanyard/internal/telemetry/telemetrytest"
)

const (
	signature = "c2lnbmF0dXJlLW9mLWEtdG9rZW4"
	secret    = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJiaWxsaW5nIn0." + signature
)

func start(t *testing.T) *telemetrytest.Receiver {
	t.Helper()
	r, err := telemetrytest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func post(t *testing.T, r *telemetrytest.Receiver, contentType string, body []byte) *http.Response {
	t.Helper()
	resp, err := http.Post(r.HTTPURL()+"/v1/traces", contentType, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp
}

func export(t *testing.T, r *telemetrytest.Receiver, resources ...*trace.ResourceSpans) {
	t.Helper()
	body, err := proto.Marshal(&collector.ExportTraceServiceRequest{ResourceSpans: resources})
	if err != nil {
		t.Fatal(err)
	}
	if resp := post(t, r, "application/x-protobuf", body); resp.StatusCode != http.StatusOK {
		t.Fatalf("export answered %s", resp.Status)
	}
}

func spans(of ...*trace.Span) *trace.ResourceSpans {
	return &trace.ResourceSpans{ScopeSpans: []*trace.ScopeSpans{{Spans: of}}}
}

func attribute(key, value string) []*common.KeyValue {
	return []*common.KeyValue{{Key: key, Value: &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: value}}}}
}

func TestSearchFindsASecretWhereverItStands(t *testing.T) {
	tests := map[string]*trace.ResourceSpans{
		"name":            spans(&trace.Span{Name: "GET " + secret}),
		"attribute value": spans(&trace.Span{Attributes: attribute("k", secret)}),
		"attribute key":   spans(&trace.Span{Attributes: attribute(secret, "v")}),
		"event":           spans(&trace.Span{Events: []*trace.Span_Event{{Name: secret}}}),
		"event attribute": spans(&trace.Span{Events: []*trace.Span_Event{{Attributes: attribute("k", secret)}}}),
		"link":            spans(&trace.Span{Links: []*trace.Span_Link{{Attributes: attribute("k", secret)}}}),
		"status":          spans(&trace.Span{Status: &trace.Status{Message: "bad token " + secret}}),
		"trace state":     spans(&trace.Span{TraceState: "vendor=" + signature}),
		"resource":        {Resource: &resource.Resource{Attributes: attribute("k", secret)}},
		"scope":           {ScopeSpans: []*trace.ScopeSpans{{Scope: &common.InstrumentationScope{Name: secret}}}},
		"signature alone": spans(&trace.Span{Name: signature}),
		"in hex":          spans(&trace.Span{Name: hex.EncodeToString([]byte(secret))}),
		"in bytes": spans(&trace.Span{Attributes: []*common.KeyValue{{Key: "k",
			Value: &common.AnyValue{Value: &common.AnyValue_BytesValue{BytesValue: []byte(secret)}}}}}),
	}
	for name, planted := range tests {
		t.Run(name, func(t *testing.T) {
			r := start(t)
			export(t, r, spans(&trace.Span{Name: "innocent", Attributes: attribute("jti", "id-1")}))
			if found := r.SearchFor(secret); len(found) != 0 {
				t.Fatalf("found %v before anything was planted", found)
			}
			export(t, r, planted)
			if found := r.SearchFor(secret); len(found) == 0 {
				t.Error("not found")
			}
		})
	}
}

func TestWaitWakesForASpanThatComesLater(t *testing.T) {
	r := start(t)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	got := make(chan telemetrytest.Span, 1)
	go func() {
		span, err := r.Wait(ctx, telemetrytest.With("second", "k", "v"))
		if err != nil {
			t.Error(err)
		}
		got <- span
	}()
	export(t, r, spans(&trace.Span{Name: "second"}))
	export(t, r, spans(&trace.Span{Name: "second", Attributes: attribute("k", "v")}))
	if span := <-got; span.Attributes["k"] != "v" {
		t.Errorf("waited for %+v", span)
	}
}

func TestWaitNamesWhatCameInstead(t *testing.T) {
	r := start(t)
	export(t, r, spans(&trace.Span{Name: "another"}))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := r.Wait(ctx, telemetrytest.With("wanted"))
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), `"another"`) {
		t.Errorf("error is %v", err)
	}
}

func TestReceiverRefusesWhatIsNotOTLP(t *testing.T) {
	r := start(t)
	if resp := post(t, r, "application/json", []byte("{}")); resp.StatusCode != http.StatusUnsupportedMediaType {
		t.Errorf("JSON answered %s", resp.Status)
	}
	if resp := post(t, r, "application/x-protobuf", []byte("no protobuf")); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("garbage answered %s", resp.Status)
	}
	if got := r.Spans(); len(got) != 0 {
		t.Errorf("kept %v", got)
	}
}
