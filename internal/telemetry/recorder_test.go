package telemetry_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/internal/telemetry"
	"github.com/lanyardhq/lanyard/internal/telemetry/telemetrytest"
	"github.com/lanyardhq/lanyard/internal/workload"
)

// deadline is for what takes milliseconds on a machine that is not busy.
const deadline = time.Minute

var began = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// use is a complete use of a token.
func use() telemetry.Use {
	return telemetry.Use{
		Start: began, End: began.Add(30 * time.Millisecond), Outcome: workload.Injected,
		Image: workload.Image{PID: 4711, StartTime: 1, ExecID: 2}, Executable: "/usr/bin/curl",
		Identity: "billing", Destination: "ledger",
		Method: "GET", Host: "ledger.internal",
		Peer:     workload.Flow{Original: netip.MustParseAddrPort("10.9.0.1:8080")},
		Audience: "https://ledger.internal", TokenID: "jti-1", Expires: began.Add(10 * time.Minute), Status: 200,
		Traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		Tracestate:  "vendor=opaque",
	}
}

// noExporter makes the environment that of a machine nobody configured.
func noExporter(t *testing.T) {
	t.Helper()
	for _, name := range []string{
		"OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER", "OTEL_TRACES_SAMPLER", "OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES",
		"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
		"OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_BSP_SCHEDULE_DELAY",
	} {
		t.Setenv(name, "")
	}
}

func setup(t *testing.T, logger *slog.Logger) *telemetry.Recorder {
	t.Helper()
	r, err := telemetry.Setup(context.Background(), telemetry.Options{Service: "lanyard-agent", Version: "v1.2.3", Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Shutdown(context.Background()) })
	return r
}

// receiver starts a collector and points the environment to it.
func receiver(t *testing.T, protocol string) *telemetrytest.Receiver {
	t.Helper()
	noExporter(t)
	r, err := telemetrytest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	for name, value := range r.Environment(protocol) {
		t.Setenv(name, value)
	}
	return r
}

func wait(t *testing.T, r *telemetrytest.Receiver, match func(telemetrytest.Span) bool) telemetrytest.Span {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	span, err := r.Wait(ctx, match)
	if err != nil {
		t.Fatal(err)
	}
	return span
}

func TestUseArrivesAsASpanOverBothProtocols(t *testing.T) {
	for _, protocol := range []string{"grpc", "http/protobuf"} {
		t.Run(protocol, func(t *testing.T) {
			collector := receiver(t, protocol)
			setup(t, nil).Use(use())
			span := wait(t, collector, telemetrytest.With("use of a token"))
			want := map[string]string{
				"lanyard.outcome": "injected", "lanyard.identity": "billing", "lanyard.destination": "ledger",
				"lanyard.audience": "https://ledger.internal", "lanyard.token.id": "jti-1", "lanyard.token.expires_in": "599",
				"process.pid": "4711", "process.executable.path": "/usr/bin/curl",
				"http.request.method": "GET", "http.response.status_code": "200",
				"server.address": "ledger.internal", "server.port": "8080", "network.peer.address": "10.9.0.1",
			}
			if fmt.Sprint(span.Attributes) != fmt.Sprint(want) {
				t.Errorf("attributes\n got %v\nwant %v", span.Attributes, want)
			}
			if span.TraceID != "0af7651916cd43dd8448eb211c80319c" || span.ParentID != "b7ad6b7169203331" ||
				span.TraceState != "vendor=opaque" {
				t.Errorf("not the child of the request's span: %+v", span)
			}
			if span.Kind != "client" || span.Failed || !span.Start.Equal(began) || !span.End.Equal(use().End) {
				t.Errorf("kind, status or times are wrong: %+v", span)
			}
			if span.Resource["service.name"] != "lanyard-agent" || span.Resource["service.version"] != "v1.2.3" {
				t.Errorf("resource is %v", span.Resource)
			}
		})
	}
}

func TestInvalidTraceparentMakesARootSpan(t *testing.T) {
	collector := receiver(t, "grpc")
	recorder := setup(t, nil)
	for i, traceparent := range []string{
		"", "nonsense",
		"00-00000000000000000000000000000000-b7ad6b7169203331-01",
		"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
		"ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		"00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01-extra",
	} {
		u := use()
		u.Traceparent, u.TokenID = traceparent, fmt.Sprint("jti-", i)
		recorder.Use(u)
		span := wait(t, collector, telemetrytest.With("use of a token", "lanyard.token.id", u.TokenID))
		if span.ParentID != "" || span.TraceID == "0af7651916cd43dd8448eb211c80319c" {
			t.Errorf("traceparent %q made a child: %+v", traceparent, span)
		}
	}
}

func TestFailureIsMarkedInTheSpan(t *testing.T) {
	collector := receiver(t, "http/protobuf")
	recorder := setup(t, nil)
	u := use()
	u.Outcome, u.Status, u.Reason = workload.TokenUnavailable, 503, errors.New("fetch token: authority answered 500")
	recorder.Use(u)
	span := wait(t, collector, telemetrytest.With("use of a token", "lanyard.outcome", "token_unavailable"))
	if !span.Failed || span.StatusMessage != "fetch token: authority answered 500" || span.Attributes["error.type"] != "token_unavailable" {
		t.Errorf("span of a failure is %+v", span)
	}
	u = use()
	u.Status = 403
	recorder.Use(u)
	span = wait(t, collector, telemetrytest.With("use of a token", "http.response.status_code", "403"))
	if !span.Failed || span.Attributes["error.type"] != "403" {
		t.Errorf("span of a refused token is %+v", span)
	}
}

func TestTextFromOutsideCannotSpoilABatch(t *testing.T) {
	collector := receiver(t, "grpc")
	recorder := setup(t, nil)
	u := use()
	u.Executable, u.Host, u.Method = "/tmp/\xff\xfe", strings.Repeat("h", 1<<16), "BREW\xc3"
	recorder.Use(u)
	span := wait(t, collector, telemetrytest.With("use of a token"))
	if got := span.Attributes["process.executable.path"]; got != "/tmp/\uFFFD" {
		t.Errorf("executable is %q", got)
	}
	if got := len(span.Attributes["server.address"]); got != 1024 {
		t.Errorf("host has %d bytes", got)
	}
	if got := span.Attributes["http.request.method"]; got != "_OTHER" {
		t.Errorf("method is %q", got)
	}
}

func TestObtainingArrivesAsASpan(t *testing.T) {
	collector := receiver(t, "grpc")
	recorder := setup(t, nil)
	recorder.Obtained(telemetry.Obtaining{
		Start: began, End: began.Add(time.Second), Identity: "billing", Audience: "https://ledger.internal",
		TokenID: "jti-2", Expires: began.Add(601 * time.Second),
	})
	span := wait(t, collector, telemetrytest.With("obtaining of a token", "lanyard.token.id", "jti-2"))
	if span.Attributes["lanyard.token.expires_in"] != "600" || span.Attributes["lanyard.identity"] != "billing" || span.Failed {
		t.Errorf("span is %+v", span)
	}
	recorder.Obtained(telemetry.Obtaining{
		Start: began, End: began, Identity: "billing",
		Err: fmt.Errorf("fetch token: %w", fmt.Errorf("dial: %w", &net.OpError{Op: "dial", Err: errors.New("refused")})),
	})
	span = wait(t, collector, telemetrytest.With("obtaining of a token", "error.type", "net.OpError"))
	if !span.Failed || !strings.Contains(span.StatusMessage, "refused") {
		t.Errorf("span of a failure is %+v", span)
	}
}

func TestOtherPeoplesTrafficHasNoSpan(t *testing.T) {
	collector := receiver(t, "grpc")
	recorder := setup(t, nil)
	for _, outcome := range []workload.Outcome{
		workload.NoIdentity, workload.NoDestination, workload.Untouched, workload.NotHTTP, workload.BadRequest, workload.ProtocolRefused,
	} {
		u := use()
		u.Outcome = outcome
		recorder.Use(u)
	}
	recorder.Use(use())
	wait(t, collector, telemetrytest.With("use of a token", "lanyard.outcome", "injected"))
	if spans := collector.Spans(); len(spans) != 1 {
		t.Errorf("received %v", spans)
	}
}

func TestShutdownExportsWhatIsQueued(t *testing.T) {
	collector := receiver(t, "http/protobuf")
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "3600000")
	recorder := setup(t, nil)
	recorder.Use(use())
	if err := recorder.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	if spans := collector.Spans(); len(spans) != 1 {
		t.Errorf("received %d spans", len(spans))
	}
}

func TestFlushExportsWhatIsQueued(t *testing.T) {
	collector := receiver(t, "http/protobuf")
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "3600000")
	recorder := setup(t, nil)
	recorder.Use(use())
	if err := recorder.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	if spans := collector.Spans(); len(spans) != 1 {
		t.Errorf("received %d spans", len(spans))
	}
}

// deadCollector accepts connections and never answers, until the test ends.
func deadCollector(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var held []net.Conn
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			held = append(held, conn)
		}
	}()
	t.Cleanup(func() {
		_ = listener.Close()
		<-done
		for _, conn := range held {
			_ = conn.Close()
		}
	})
	return "http://" + listener.Addr().String()
}

func TestDeadCollectorHoldsNobodyUp(t *testing.T) {
	for _, protocol := range []string{"grpc", "http/protobuf"} {
		t.Run(protocol, func(t *testing.T) {
			noExporter(t)
			t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", deadCollector(t))
			t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
			t.Setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "3600000") // who waits for it, waits an hour
			t.Setenv("OTEL_BSP_EXPORT_TIMEOUT", "3600000")
			var log bytes.Buffer
			recorder := setup(t, slog.New(slog.NewTextHandler(&log, nil)))
			start := time.Now()
			for range 3 * 2048 { // three times what the queue holds
				recorder.Use(use())
			}
			if took := time.Since(start); took > deadline {
				t.Errorf("6144 uses took %v", took)
			}
			ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
			defer cancel()
			start = time.Now()
			if err := recorder.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("shutdown says %v", err)
			}
			if took := time.Since(start); took > deadline {
				t.Errorf("shutdown took %v", took)
			}
			if got := strings.Count(log.String(), "traces cannot be exported"); got != 1 {
				t.Errorf("logged %d times: %s", got, log.String())
			}
		})
	}
}

func TestNothingIsExportedUnlessAsked(t *testing.T) {
	collector, err := telemetrytest.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = collector.Close() }()
	tests := map[string]map[string]string{
		"nothing set":       {},
		"only the protocol": {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
		"exporter is none":  {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": collector.HTTPURL()},
		"SDK disabled":      {"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": collector.HTTPURL()},
	}
	for name, environment := range tests {
		t.Run(name, func(t *testing.T) {
			noExporter(t)
			for name, value := range environment {
				t.Setenv(name, value)
			}
			recorder := setup(t, nil)
			recorder.Use(use())
			recorder.Obtained(telemetry.Obtaining{Start: began, End: began})
			if err := recorder.Shutdown(context.Background()); err != nil {
				t.Error(err)
			}
			if got := counted(t, recorder, `lanyard_trace_spans_total{state="ended"}`); got != "0" {
				t.Errorf("made %s spans", got)
			}
			if spans := collector.Spans(); len(spans) != 0 {
				t.Errorf("received %v", spans)
			}
		})
	}
}

func TestSetupNamesAWrongExporter(t *testing.T) {
	for name, value := range map[string]string{"OTEL_TRACES_EXPORTER": "carrier-pigeon", "OTEL_EXPORTER_OTLP_PROTOCOL": "udp"} {
		noExporter(t)
		t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
		t.Setenv(name, value)
		_, err := telemetry.Setup(context.Background(), telemetry.Options{})
		if err == nil || !strings.Contains(err.Error(), "OTEL_") {
			t.Errorf("%s=%s: error is %v", name, value, err)
		}
	}
}
